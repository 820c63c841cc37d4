import { constants, gunzipSync, inflateRawSync } from 'node:zlib';
import { LazypullError } from '../../errors.ts';
import { maxSpanBytes, type SpanKind, spanKinds } from '../blob-spans.ts';
import { alignToByte } from './bit-prefix.ts';
import { isZstdMagic } from '../zstd/frames.ts';
import { readFrames } from '../zstd/read-frames.ts';
import type { Inflater } from './inflater.ts';
import { MemberHeader } from './member-header.ts';

/** The bytes of a span, and its beginning. */
export interface SpanBytes {
  /** The blob from the span's first byte on. The end may be missing, and data after the span may be there. */
  readonly bytes: Uint8Array;
  readonly kind: SpanKind;
  readonly bits: number;
  /** The window of the checkpoint, not compressed. */
  readonly window: Uint8Array;
  /** How much of its output is wanted. */
  readonly wanted: number;
}

/** CRC-32 and length. They are not checked: chunks have digests. */
const trailerBytes = 8;

const maxWanted = maxSpanBytes;

/**
 * At least the first `wanted` bytes of a span's output, or all of them if there are fewer. It runs at once.
 *
 * @param inflater stops as soon as they are there, and is free for other spans afterwards. Without one, Node's own
 * functions inflate everything
 * @throws DataLoss if it cannot be read; ResourceExhausted for more than a span has
 */
export function readSpan(span: SpanBytes, inflater?: Inflater): Buffer {
  const { kind, bytes, wanted } = span;
  if (wanted > maxWanted) throw new LazypullError('ResourceExhausted', `A span of ${wanted} bytes is too long`);
  if (kind === spanKinds.stored) return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(wanted, bytes.length));
  if (kind === spanKinds.header && startsFrame(bytes)) return readFrames(bytes, wanted);
  if (inflater !== undefined) return readExactly(span, inflater);
  try {
    return readAll(span);
  } catch (cause) {
    if (cause instanceof LazypullError) throw cause;
    throw new LazypullError('DataLoss', 'The span cannot be inflated', { cause });
  }
}

function readExactly({ bytes, kind, bits, window, wanted }: SpanBytes, inflater: Inflater): Buffer {
  const output = Buffer.allocUnsafeSlow(wanted);
  let at = 0;
  let produced = 0;
  inflater.reset();
  if (kind === spanKinds.header) at = afterHeader(bytes, 0);
  else if (bytes.length > 0) {
    if (bits > 0) inflater.prime(8 - bits, bytes[at++]! >> bits);
    if (window.length > 0) inflater.setWindow(window);
  }
  while (produced < wanted) {
    const step = inflater.step(bytes, at, output, produced, wanted, false);
    at += step.consumed;
    produced += step.produced;
    if (step.stop !== 'end') break;
    at += trailerBytes;
    if (!startsMember(bytes, at)) break;
    at = afterHeader(bytes, at);
    inflater.reset();
  }
  return output.subarray(0, produced);
}

/** Two calls of Node at most: for the rest of a member, and for all members after it. */
function readAll({ bytes, kind, bits, window, wanted }: SpanBytes): Buffer {
  const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: maxSpanBytes + slackBytes };
  const chunkSize = Math.max(4096, wanted + 2048);
  if (kind === spanKinds.header) return gunzipSync(bytes, { ...options, chunkSize });
  const aligned = alignToByte(bytes, bits);
  const dictionary = window.length === 0 ? {} : { dictionary: window };
  const { buffer, engine } = inflateRawWithInfo(aligned, { ...options, ...dictionary, chunkSize });
  const next = engine.bytesWritten + trailerBytes - (aligned.length - bytes.length);
  if (buffer.length >= wanted || !startsMember(bytes, next)) return buffer;
  return Buffer.concat([buffer, gunzipSync(bytes.subarray(next), options)]);
}

/** How much the beginning of the next span may put out beyond a span. */
const slackBytes = 1 << 20;

function inflateRawWithInfo(bytes: Uint8Array, options: object): { buffer: Buffer; engine: { bytesWritten: number } } {
  // The types of Node do not have the effect of `info` on the result.
  return inflateRawSync(bytes, { ...options, info: true }) as unknown as ReturnType<typeof inflateRawWithInfo>;
}

function startsFrame(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && isZstdMagic(Buffer.from(bytes.buffer, bytes.byteOffset, 4).readUInt32LE(0));
}

function startsMember(bytes: Uint8Array, at: number): boolean {
  return at + 1 < bytes.length && bytes[at] === 0x1f && bytes[at + 1] === 0x8b;
}

function afterHeader(bytes: Uint8Array, at: number): number {
  const header = new MemberHeader();
  const end = at + header.take(bytes, at);
  if (!header.isDone) throw new LazypullError('DataLoss', 'The gzip header does not end');
  return end;
}
