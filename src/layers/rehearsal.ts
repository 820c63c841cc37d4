import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { chunkTable } from '../erofs/disk-plan.ts';
import { planLayer, type TocSource } from './layer-plan.ts';
import { unpackRows } from './unpack.ts';

/** Enough for the engine to compile what is called for every file; a round takes some tens of milliseconds. */
const files = 2000;
const rounds = 6;

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

function madeUpToc(): TocSource {
  const rows: object[] = [{ name: 'usr/', type: 'dir', mode: 0o755, modtime: '2020-01-01T00:00:00Z' }];
  let blobBytes = 0;
  for (let i = 0; i < files; i++) {
    const directory = `usr/directory-${i >> 5}`;
    const common = { uid: i % 3, gid: 0, userName: 'root', groupName: 'root', modtime: '2021-02-03T04:05:06Z' };
    if (i % 32 === 0) rows.push({ name: `${directory}/`, type: 'dir', mode: 0o755, ...common });
    if (i % 16 === 1) rows.push({ name: `${directory}/link-${i}`, type: 'symlink', linkName: '../x', ...common });
    if (i % 64 === 2)
      rows.push({ name: `${directory}/lib-${i}.so`, type: 'hardlink', linkName: `${directory}/${i - 2}` });
    const digest = `sha256:${i.toString(16).padStart(64, '0')}`;
    const chunks = { offset: blobBytes, digest, chunkDigest: digest, chunkSize: i % 50 === 3 ? 4096 : undefined };
    rows.push({ name: `${directory}/${i}`, type: 'reg', size: 6000, mode: 0o644, ...common, ...chunks });
    if (i % 50 === 3)
      rows.push({ name: `${directory}/${i}`, type: 'chunk', chunkOffset: 4096, ...chunks, chunkSize: 1904 });
    blobBytes += 2000;
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
