import type { ByteString } from '../layer-index.ts';
import { blockBytes, encodeFileHeader, paddingOf, withChecksum } from './header.ts';
import { encodePax, type PaxRecords } from './pax.ts';

const nameBytes = 100;
const maxOctalSize = 8 ** 11;

/**
 * The headers of an entry that is written differently: a sparse file with all its bytes, a directory without the list
 * that GNU tar may have added. Owner, mode and time stay as in the block.
 */
export function plainHeaders(
  block: Buffer,
  { type, path, size }: { type: string; path: ByteString; size: number },
  records: PaxRecords,
): Buffer {
  const plain = Buffer.from(block);
  plain.fill(0, 0, nameBytes).write(path.slice(0, nameBytes), 0, 'latin1');
  plain.write(`${(size < maxOctalSize ? size : 0).toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  plain.write(type === 'dir' ? '5' : '0', 156, 'latin1');
  plain.write('ustar\x0000', 257, 'latin1');
  plain.fill(0, 345, blockBytes);
  const own = new Map([...records].filter(([key]) => !key.startsWith('GNU.sparse.')));
  own.delete('path');
  own.delete('size');
  if (path.length > nameBytes) own.set('path', path);
  if (size >= maxOctalSize) own.set('size', String(size));
  const pax = encodePax(own);
  const extended = pax.length === 0 ? [] : [encodeFileHeader('PaxHeaders.0/file', pax.length, 'x'), pax];
  return Buffer.concat([...extended, Buffer.alloc(paddingOf(pax.length)), withChecksum(plain)]);
}
