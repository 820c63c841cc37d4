import fc from 'fast-check';
import type { ByteString, EntryType } from '../../src/formats/layer-index.ts';
import type { FileSpec } from './estargz-blob.ts';
import { buildTar } from './tar-builder.ts';

const typeflags: Readonly<Record<EntryType, string>> = {
  reg: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  dir: '5',
  fifo: '6',
};

/** A tar archive of the files. */
export function tarOf(files: readonly FileSpec[]): Buffer {
  return buildTar(
    files.map((file) => {
      const { path, type, content, linkTarget, mode, uid, gid, devMajor, devMinor, xattrs = {} } = file;
      const pax: Record<string, string> = { mtime: paxTime(file.mtimeSeconds ?? 0, file.mtimeNanoseconds ?? 0) };
      for (const [name, value] of Object.entries(xattrs)) pax[`SCHILY.xattr.${name}`] = value.toString('latin1');
      return {
        name: path,
        typeflag: typeflags[type],
        data: content ?? Buffer.alloc(0),
        linkName: linkTarget ?? '',
        mode: mode ?? 0,
        uid: uid ?? 0,
        gid: gid ?? 0,
        devMajor: devMajor ?? 0,
        devMinor: devMinor ?? 0,
        pax,
      };
    }),
  );
}

function paxTime(seconds: number, nanoseconds: number): string {
  const isNegative = seconds < 0 && nanoseconds > 0;
  const whole = isNegative ? seconds + 1 : seconds;
  const fraction = String(isNegative ? 1_000_000_000 - nanoseconds : nanoseconds).padStart(9, '0');
  return `${isNegative && whole === 0 ? '-' : ''}${whole}.${fraction}`;
}

/**
 * One step of making a layer: what to add, below one of the directories that are there, or linked to one of the files.
 */
interface Step {
  type: EntryType;
  name: ByteString;
  pick: number;
  file: Partial<FileSpec>;
}

/**
 * Layers that GNU tar unpacks: directories come before their content and links after their targets. Names come again
 * now and then: what is not a directory then takes the place of what is not one.
 */
export function arbitraryLayer(): fc.Arbitrary<FileSpec[]> {
  return fc.array(arbitraryStep, { maxLength: 60 }).map((steps) => {
    const directories = ['.'];
    const files: FileSpec[] = [{ path: './', type: 'dir', mode: 0o755 }];
    const types = new Map<ByteString, EntryType>();
    for (const { type, name, pick, file } of steps) {
      const path = `${directories[pick % directories.length]}/${name}`;
      const there = types.get(path);
      if (there !== undefined && (there === 'dir') !== (type === 'dir')) continue;
      if (there === 'symlink') continue; // tar puts off the making of some, and then takes the place back
      if (path.length > 1000) continue;
      const linkTarget = type === 'hardlink' ? pickTarget(types, pick, path) : file.linkTarget;
      if (type === 'hardlink' && linkTarget === undefined) continue;
      if (type === 'dir' && there === undefined) directories.push(path);
      const linked = type === 'hardlink' ? types.get(linkTarget!) : undefined;
      types.set(path, linked === 'symlink' ? linked : type);
      files.push({ ...file, path, type, ...(linkTarget === undefined ? {} : { linkTarget }) });
    }
    return files;
  });
}

function pickTarget(types: ReadonlyMap<ByteString, EntryType>, pick: number, self: ByteString): ByteString | undefined {
  const targets = [...types].filter(([path, type]) => type !== 'dir' && path !== self).map(([path]) => path);
  return targets[pick % targets.length];
}

const nameByte = fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 0x2f);
const rawName = fc
  .array(nameByte, { minLength: 1, maxLength: 255 })
  .map((bytes) => String.fromCharCode(...bytes))
  .filter((name) => !/^\.{1,2}$|^\.wh\./.test(name));
const arbitraryName = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', '!', '-', '.a', 'usr', 'name with space') },
  { weight: 2, arbitrary: rawName },
);

const arbitraryContent = fc
  .tuple(fc.constantFrom(0, 1, 4095, 4096, 4097, 9000, 30_000), fc.nat(255))
  .map(([length, seed]) => Buffer.from(Array.from({ length }, (_, i) => (i * 13 + (i >> 8) * seed) & 0xff)));

const arbitraryXattrs = fc.dictionary(
  fc.constantFrom('user.a', 'user.\xff', 'security.t', 'user.long-name-of-an-attribute'),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  { maxKeys: 3, noNullPrototype: true },
);

const attributes = {
  mode: fc.nat(0o7777),
  uid: fc.constantFrom(0, 1, 1000, 65_536, 4_294_967_294),
  gid: fc.constantFrom(0, 1, 1000, 65_536, 4_294_967_294),
  // Times before 1970 are not set by containerd, and are by GNU tar.
  mtimeSeconds: fc.integer({ min: 0, max: 8_000_000_000 }),
  mtimeNanoseconds: fc.constantFrom(0, 1, 999_999_999, 123_456_789),
};

const arbitraryStep: fc.Arbitrary<Step> = fc.oneof(
  step('reg', { ...attributes, content: arbitraryContent, xattrs: arbitraryXattrs }),
  step('dir', { ...attributes, xattrs: arbitraryXattrs }),
  step('symlink', { ...attributes, linkTarget: fc.oneof(rawName, fc.constantFrom('/usr/bin/x', '../../up', 'a')) }),
  step('hardlink', {}), // whose attributes GNU tar does not set
  step('char', { ...attributes, devMajor: fc.nat(4095), devMinor: fc.nat(1_048_575) }),
  step('block', { ...attributes, devMajor: fc.nat(4095), devMinor: fc.nat(1_048_575) }),
  step('fifo', attributes),
);

function step(type: EntryType, file: { [K in keyof FileSpec]?: fc.Arbitrary<FileSpec[K]> }): fc.Arbitrary<Step> {
  return fc.record({
    type: fc.constant(type),
    name: arbitraryName,
    pick: fc.nat(10_000),
    file: fc.record(file) as fc.Arbitrary<Partial<FileSpec>>,
  });
}
