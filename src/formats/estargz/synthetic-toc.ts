import { gzipSync } from 'node:zlib';
import { sha256 } from '../../chunks/digest.ts';
import { tocTar } from './toc-tar.ts';
import type { RawIndex, WantedIndex } from '../layer-format.ts';

const files = 2000;

/** The directories of the files. */
const directories = ['etc/x', 'usr/bin', 'usr/lib/python3', 'usr/share/doc', 'var/lib/dpkg/info'];

/**
 * A table with an example of everything in tables of real layers: if the engine has not seen something yet, it compiles
 * again, and a real layer waits.
 */
export function syntheticToc(): { raw: RawIndex; wanted: WantedIndex } {
  const rows: object[] = [];
  const digest = (i: number) => `sha256:${(i * 0x9e3779b1).toString(16).padStart(64, '0')}`;
  let blobBytes = 0;
  const addFile = (i: number, name: string, size: number, common: object) => {
    const chunkSize = Math.ceil(size / (1 + (i % 25 === 3 ? 2 : 0)));
    for (let offset = 0; offset < size; offset += chunkSize) {
      const isOnly = chunkSize === size;
      const chunk = {
        offset: blobBytes,
        chunkDigest: digest(i + offset),
        chunkOffset: offset === 0 ? undefined : offset,
        chunkSize: isOnly ? undefined : Math.min(chunkSize, size - offset),
      };
      if (offset === 0) rows.push({ name, type: 'reg', size, ...common, digest: digest(i), ...chunk });
      else rows.push({ name, type: 'chunk', ...chunk });
      blobBytes += 100 + (size >> 2);
    }
  };
  for (let i = 0; i < files; i++) {
    const top = ['./', ''][(i >> 5) & 1]!;
    const directory = `${top}${directories[(i >> 4) % directories.length]}/d${i >> 4}.x`;
    const time = new Date(1e12 + i * 1e9).toISOString();
    const common = {
      modtime: i % 40 === 7 ? time : `${time.slice(0, 19)}Z`,
      mode: i % 5 === 0 ? 0o755 : 0o644,
      uid: i % 9 === 8 ? i * 1000 : undefined,
      gid: i % 9 > 6 ? i : undefined,
      userName: i % 2 === 0 ? 'root' : undefined,
      groupName: i % 2 === 0 ? 'root' : undefined,
      xattrs: i % 100 === 9 ? { 'security.capability': 'AQAAAgAgAAAAAAAAAAAAAAAAAAA=', 'user.x': 'eA==' } : undefined,
    };
    if (i === 0) rows.push({ name: './', type: 'dir', ...common });
    if (i % 16 === 0) rows.push({ name: `${directory}/`, type: 'dir', ...common });
    if (i % 6 === 0) addFile(i, `${top}usr/share/in-one-directory/file-${i}`, 10 + i, common);
    if (i % 8 === 1) rows.push({ name: `${directory}/link-${i}`, type: 'symlink', linkName: `../../x${i}`, ...common });
    if (i % 90 === 2) {
      rows.push({ name: `${directory}/h-${i}`, type: 'hardlink', linkName: `${directory}/f${i}.py`, ...common });
      rows.push({ name: `${top}dev/n${i}`, type: i % 4 === 0 ? 'char' : 'block', devMajor: 5, devMinor: i, ...common });
      rows.push({ name: `${top}dev/zero${i}`, type: 'char', devMinor: 300, ...common });
      rows.push({ name: `${top}run/fifo${i}`, type: 'fifo', ...common });
      rows.push({ name: `${directory}/.wh.gone-${i}`, type: 'reg', ...common });
      rows.push({ name: `${directory}/sp\u00e9cial "${i}"`, type: 'reg', ...common });
      rows.push({
        name: `${top}usr/lib/x86_64-linux-gnu/lib${i}.so.1`,
        type: 'symlink',
        linkName: `lib${i}.so`,
        ...common,
      });
      addFile(i, `${top}usr/lib/x86_64-linux-gnu/lib${i}.so`, 3000 * i, common);
    }
    const size = i % 11 === 5 ? 0 : (i * 7919) % 20_011;
    addFile(i, `${directory}/f${i}.py`, size, common);
    if (size === 0) rows.push({ name: `${directory}/f${i}.py`, type: 'reg', ...common });
  }
  const toc = compressedToc(rows);
  return {
    raw: { bytes: toc.bytes, start: blobBytes, fileBytes: blobBytes + 100_000, dataEnd: blobBytes },
    wanted: { layer: digest(0), index: toc.digest },
  };
}

/** The gzip member of a table of contents with these rows, and the digest of its JSON. */
export function compressedToc(rows: readonly object[]): { bytes: Buffer; digest: string } {
  const json = Buffer.from(JSON.stringify({ version: 1, entries: rows }, undefined, '\t'));
  const bytes = gzipSync(tocTar([json]));
  return { bytes, digest: sha256(json) };
}
