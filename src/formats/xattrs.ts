import type { ByteString, EntryType, IndexEntry } from './layer-index.ts';

/**
 * The entry with exactly the extended attributes that it has after containerd has unpacked the layer (pkg/archive,
 * createTarFile): overlayfs copies a file up with all of them, and fails if its upper directory does not take one.
 * `trusted.*` is never set. Linux refuses `user.*` for anything but regular files and directories (xattr(7)), which
 * containerd ignores. An access control list is set before the mode. Attributes that would make unpacking fail are left
 * out.
 */
export function unpackedXattrs(entry: IndexEntry): IndexEntry {
  if (entry.xattrs === undefined) return entry;
  const xattrs = new Map<ByteString, Uint8Array>();
  for (const [name, value] of entry.xattrs) {
    const set = valueSet(name, value, entry);
    if (set !== undefined) xattrs.set(name, set);
  }
  return { ...entry, xattrs: xattrs.size === 0 ? undefined : xattrs };
}

/** The value on the disk after lsetxattr(2) and the following chmod; undefined for none. */
function valueSet(name: ByteString, value: Uint8Array, { type, mode }: IndexEntry): Uint8Array | undefined {
  if (name.includes('\0')) return undefined;
  if (name === 'system.posix_acl_access') return type === 'symlink' ? undefined : accessListAfterChmod(value, mode);
  if (name === 'system.posix_acl_default') return type === 'dir' && isAccessList(value) ? value : undefined;
  if (name === 'security.capability') return isCapability(value) ? value : undefined;
  const isKept = /^security\../s.test(name) || (/^user\../s.test(name) && userTypes.has(type));
  return isKept ? value : undefined;
}

const userTypes: ReadonlySet<EntryType> = new Set(['reg', 'dir']);

/** struct vfs_cap_data of version 2, and of version 3 with the root of a user namespace (linux/capability.h). */
function isCapability(value: Uint8Array): boolean {
  const revision = value.length < 4 ? 0 : viewOf(value).getUint32(0, true) >>> 24;
  return (revision === 2 && value.length === 20) || (revision === 3 && value.length === 24);
}

/** Tags of the entries of an access control list (linux/posix_acl.h), in their order. */
const owner = 0x01;
const user = 0x02;
const group = 0x04;
const otherGroup = 0x08;
const mask = 0x10;
const others = 0x20;

const listHeaderBytes = 4;
const listEntryBytes = 8;
const listVersion = 2;

/** chmod(2) writes the mode into the list. A list that says no more than a mode is not kept. */
function accessListAfterChmod(value: Uint8Array, mode: number): Uint8Array | undefined {
  if (!isAccessList(value)) return undefined;
  const list = Uint8Array.from(value);
  const view = viewOf(list);
  const hasMask = tagsOf(view).includes(mask);
  if (!hasMask) return undefined;
  for (const [i, tag] of tagsOf(view).entries()) {
    const shift = tag === owner ? 6 : tag === mask ? 3 : tag === others ? 0 : undefined;
    if (shift !== undefined) view.setUint16(listHeaderBytes + i * listEntryBytes + 2, (mode >> shift) & 7, true);
  }
  return list;
}

/** Whether Linux accepts the list (fs/posix_acl.c, posix_acl_valid; linux/posix_acl_xattr.h). */
function isAccessList(value: Uint8Array): boolean {
  if (value.length < listHeaderBytes || value.length % listEntryBytes !== listHeaderBytes) return false;
  const view = viewOf(value);
  if (view.getUint32(0, true) !== listVersion) return false;
  const tags = tagsOf(view);
  if (tags.some((_, i) => view.getUint16(listHeaderBytes + i * listEntryBytes + 2, true) > 7)) return false;
  return listOrder.test(tags.map((tag) => letters.get(tag) ?? '?').join(''));
}

const letters: ReadonlyMap<number, string> = new Map([
  [owner, 'o'],
  [user, 'u'],
  [group, 'g'],
  [otherGroup, 'G'],
  [mask, 'm'],
  [others, 'x'],
]);

/** A mask is required if users or groups are named; otherwise it is optional. */
const listOrder = /^o(gm?|u+gG*m|gG+m)x$/;

function tagsOf(view: DataView): number[] {
  const count = (view.byteLength - listHeaderBytes) / listEntryBytes;
  return Array.from({ length: count }, (_, i) => view.getUint16(listHeaderBytes + i * listEntryBytes, true));
}

function viewOf(value: Uint8Array): DataView {
  return new DataView(value.buffer, value.byteOffset, value.byteLength);
}
