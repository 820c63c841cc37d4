import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { sha256 } from '../../chunks/digest.ts';
import type { LayerId } from '../../chunks/layer-id.ts';
import { encodeFooter } from './footer.ts';
import { compressedToc } from './synthetic-toc.ts';

/** More than the end of a blob that is fetched with its index, so that reads have to wait for some of it. */
const files = 80;
const fileBytes = 32 << 10;

/**
 * Makes a synthetic layer of some MB that equals no other one (containerd/stargz-snapshotter, docs/estargz.md). It is
 * not compressed, and made one file at a time, because calls of clients come meanwhile.
 *
 * @param signal ends it: then it rejects
 */
export async function syntheticLayer(
  signal?: AbortSignal,
): Promise<{ bytes: Buffer; id: LayerId; paths: readonly string[] }> {
  const members: Buffer[] = [];
  const rows: object[] = [];
  let offset = 0;
  for (let i = 0; i < files; i++) {
    const content = randomBytes(fileBytes);
    const digest = sha256(content);
    rows.push({ name: `f${i}`, type: 'reg', size: fileBytes, mode: 0o644, digest, offset, chunkDigest: digest });
    const member = gzipSync(content, { level: 0 });
    members.push(member);
    offset += member.length;
    await setImmediate();
    signal?.throwIfAborted();
  }
  const toc = compressedToc(rows);
  const bytes = Buffer.concat([...members, toc.bytes, encodeFooter(offset)]);
  const paths = rows.map((_, i) => `f${i}`);
  return { bytes, id: { digest: sha256(bytes), index: toc.digest }, paths };
}
