import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { chunkTable } from '../erofs/disk-plan.ts';
import { planLayer, type TocSource } from './layer-plan.ts';
import { unpackRows } from './unpack.ts';

/** Enough for the engine to compile what is called for every file; a round takes some tens of milliseconds. */
const files = 2000;
const rounds = 6;

/** Where they are. */
const directories = ['etc/x', 'usr/bin', 'usr/lib/python3', 'usr/share/doc', 'var/lib/dpkg/info'];

const chunks = 400;
const chunkBytes = 10_000;

/**
 * Plans a made-up layer a few times and throws it away. JavaScript runs several times faster once the engine has seen it run; without this
 * the first layer, which a build waits for, would be what it learns from.
 *
 * @param goesOn asked before each round: false to leave it at that
 */
export async function rehearsePlanning(goesOn: () => boolean): Promise<void> {
  const source = madeUpToc();
  for (let round = 0; round < rounds && goesOn(); round++) {
    planLayer(source);
    await setImmediate();
  }
}

/** Inflates and verifies a made-up file a few times, for the same reason. */
export async function rehearseUnpacking(): Promise<void> {
  const content = Buffer.alloc(chunkBytes, 'what a file may hold, ');
  const stream = gzipSync(content);
  const table = chunkTable(undefined, chunks);
  for (let row = 0; row < chunks; row++) {
    table.size[row] = chunkBytes;
    table.streamOffset[row] = row * stream.length;
    table.streamEnd[row] = (row + 1) * stream.length;
    table.digest.set(hash('sha256', content, 'buffer'), row * 32);
  }
  const blob = Buffer.concat(Array.from({ length: chunks }, () => stream));
  for await (const unpacked of unpackRows(table, { first: 0, last: chunks }, blob, 0)) {
    if ('error' in unpacked) throw unpacked.error;
  }
}

/** A table with something of all that is found in tables of real layers: what the engine has not seen it compiles anew, and then the real layer waits. */
function madeUpToc(): TocSource {
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
    if (i % 16 === 0) rows.push({ name: `${directory}/`, type: 'dir', ...common });
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
  const json = Buffer.from(JSON.stringify({ version: 1, entries: rows }, undefined, '\t'));
  const header = Buffer.alloc(512);
  header.write('stargz.index.json', 0);
  header.write(`${json.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('0', 156);
  return {
    digest: `sha256:${'0'.repeat(64)}`,
    tocDigest: `sha256:${hash('sha256', json)}`,
    blobBytes: blobBytes + 100_000,
    tocOffset: blobBytes,
    compressedToc: gzipSync(Buffer.concat([header, json, Buffer.alloc(1536)])),
  };
}
