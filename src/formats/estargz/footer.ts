import { LazypullError } from '../../errors.ts';

/** Bytes of the longest footer, eStargz's: `readFooter` needs so much of a blob's end. */
export const footerBytes = 51;

/** The content of a footer: the table of contents is in the gzip members at [tocOffset, tocEnd) of the blob. */
export interface Footer {
  tocOffset: number;
  tocEnd: number;
}

/**
 * Reads the footer of an eStargz blob, or of one in the older stargz format: an empty gzip member whose extra field
 * says where the table of contents starts (containerd/stargz-snapshotter, docs/estargz.md, "Footer"; google/crfs).
 *
 * @param lastBytes the last `footerBytes` of the blob or more; the whole blob if it is shorter
 * @throws FailedPrecondition if there is no such footer, with what the blob seems to be; DataLoss for an offset outside
 * of the blob
 */
export function readFooter(lastBytes: Uint8Array, blobBytes: number): Footer {
  const text = Buffer.from(lastBytes.buffer, lastBytes.byteOffset, lastBytes.byteLength)
    .subarray(-longestOtherFooter)
    .toString('latin1');
  for (const { bytes, pattern } of formats) {
    const digits = pattern.exec(text.slice(-bytes))?.[1];
    if (digits === undefined) continue;
    const tocOffset = Number.parseInt(digits, 16);
    const tocEnd = blobBytes - bytes;
    if (tocOffset < tocEnd) return { tocOffset, tocEnd };
    throw new LazypullError(
      'DataLoss',
      `Cannot read the layer's footer: it puts the table of contents at byte ${tocOffset} of ${blobBytes}`,
    );
  }
  throw new LazypullError('FailedPrecondition', `The layer is not in the eStargz format: ${otherFormat(text)}`);
}

/**
 * The footer of an eStargz blob whose table of contents begins at `tocOffset`: an empty gzip member of `footerBytes`.
 */
export function encodeFooter(tocOffset: number): Buffer {
  const extra = `SG\x16\x00${tocOffset.toString(16).padStart(16, '0')}STARGZ`;
  const header = Buffer.from('1f8b0804000000' + '0000ff' + '1a00', 'hex');
  const emptyDeflate = Buffer.from('010000ffff' + '0000000000000000', 'hex');
  return Buffer.concat([header, Buffer.from(extra, 'latin1'), emptyDeflate]);
}

const formats = [
  { bytes: footerBytes, pattern: footerPattern('\\x1a\\0SG\\x16\\0') },
  { bytes: 47, pattern: footerPattern('\\x16\\0') },
];

/**
 * A gzip member without content (RFC 1952, 2.3) whose extra field has the length and the sub-field header given; any
 * operating system.
 */
function footerPattern(extra: string): RegExp {
  return new RegExp(`^\\x1f\\x8b\\x08\\x04\\0{4}[^][^]${extra}([0-9a-fA-F]{16})STARGZ\\x01\\0\\0\\xff\\xff\\0{8}$`);
}

/** zstd:chunked has the longest footer, in its newer form. */
const longestOtherFooter = 64;

function otherFormat(text: string): string {
  if (text.includes('STARGZEXTERNALTOC')) return 'its table of contents is in another image, which is not read';
  if (text.endsWith('GNUlInUx') || text.endsWith('GnUlInUx')) {
    return 'it is zstd:chunked, whose table of contents is not read';
  }
  return 'it has no footer';
}
