import { LazypullError } from '../../errors.ts';
import type { ByteString, IndexEntry } from '../../formats/layer-index.ts';
import { shownPath } from '../../formats/paths.ts';

const headerBytes = 12;
const maxNameBytes = 255;
const maxValueBytes = 65_535;
/** The inode counts words of 4 bytes after the header, from 1, in 16 bits. */
const maxBytes = headerBytes + 4 * 65_534;

/** Prefixes that EROFS stores as a number. No Linux file system keeps attributes of other namespaces. */
const namespaces: readonly { prefix: string; index: number }[] = [
  { prefix: 'user.', index: 1 },
  { prefix: 'trusted.', index: 4 },
  { prefix: 'security.', index: 6 },
];
const accessControlLists: ReadonlyMap<ByteString, number> = new Map([
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
]);

/**
 * The attributes of an entry, as bytes after its inode (fs/erofs/erofs_fs.h, struct erofs_xattr_ibody_header, none of
 * them shared); empty if it has none. Attributes that the kernel would refuse when the layer is unpacked are left out:
 * those of other namespaces, without a name, and access control lists that are not in the kernel's format.
 *
 * @throws ResourceExhausted if an attribute, or the sum of them, is too large
 */
export function encodeXattrs(entry: IndexEntry): Uint8Array {
  if (entry.xattrs === undefined) return nothing;
  const parts: Buffer[] = [];
  let bytes = headerBytes;
  for (const [name, value] of entry.xattrs) {
    const key = keyOf(name, value);
    if (key === undefined) continue;
    if (name.length > maxNameBytes || value.length > maxValueBytes) throw tooLarge(entry, name);
    const part = Buffer.alloc(Math.ceil((4 + key.suffix.length + value.length) / 4) * 4);
    part.writeUInt8(key.suffix.length, 0);
    part.writeUInt8(key.index, 1);
    part.writeUInt16LE(value.length, 2);
    part.write(key.suffix, 4, 'latin1');
    part.set(value, 4 + key.suffix.length);
    parts.push(part);
    bytes += part.length;
    if (bytes > maxBytes) throw tooLarge(entry, name);
  }
  return parts.length === 0 ? nothing : Buffer.concat([Buffer.alloc(headerBytes), ...parts]);
}

const nothing = new Uint8Array();

function keyOf(name: ByteString, value: Uint8Array): { index: number; suffix: ByteString } | undefined {
  const list = accessControlLists.get(name);
  if (list !== undefined) return isAccessControlList(value) ? { index: list, suffix: '' } : undefined;
  const namespace = namespaces.find(({ prefix }) => name.startsWith(prefix));
  if (namespace === undefined || name.length === namespace.prefix.length || name.includes('\0')) return undefined;
  return { index: namespace.index, suffix: name.slice(namespace.prefix.length) };
}

/** Version 2 and entries of 8 bytes (linux/posix_acl_xattr.h). */
function isAccessControlList(value: Uint8Array): boolean {
  return value.length >= 4 && value.length % 8 === 4 && value[0] === 2 && !value[1] && !value[2] && !value[3];
}

function tooLarge(entry: IndexEntry, name: ByteString): LazypullError {
  return new LazypullError(
    'ResourceExhausted',
    `The extended attribute "${shownPath(name.slice(0, 80))}" of "${shownPath(entry.path)}" does not fit on the disk`,
  );
}
