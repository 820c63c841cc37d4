import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { identityOf } from '../../../src/kernel/pidfd.ts';
import { estargzBlob } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { Program } from '../../support/program.ts';
import { keepersBelow } from '../../support/workspace.ts';

const bytes = 1 << 20;

let lab: LayerLab;
let linesBefore = 0;

before(async () => {
  lab = await LayerLab.open('no_background_fetch = true\nnoprefetch = true\n');
});
beforeEach(() => {
  linesBefore = lab.daemon.log().length;
});
after(() => lab[Symbol.asyncDispose]());

interface Record {
  keeper: { pid: number; startTicks: number };
  fuse: { name: string; fd: number; root: number };
  socket: { fd: number; path: string };
  [member: string]: unknown;
}

const recordPath = () => join(lab.root, 'keeper.json');
const readRecord = async () => JSON.parse(await readFile(recordPath(), 'utf8')) as Record;
const said = () =>
  lab.daemon
    .log()
    .slice(linesBefore)
    .filter(({ level }) => level === 'warn' || level === 'error')
    .map(({ msg }) => String(msg));

/**
 * Kills the daemon while a reader waits for data of a layer, changes the record, and starts the next daemon. The reader
 * must not wait for ever, and later reads are right.
 */
async function startAfter(change: () => Promise<unknown>): Promise<void> {
  const content = randomBytes(bytes);
  const files = [0, 1, 2].map((i) => ({ path: `file-${i}`, type: 'reg' as const, content }));
  const snapshot = await lab.prepare([lab.layer(estargzBlob(files, bytes))]);
  const used = await lab.mount(snapshot);
  const [keeper] = await keepersBelow(lab.workspace.path);
  await lab.daemon.program.stop('SIGKILL');
  const reading = readFile(join(used, 'file-0')).then(
    (found) => assert.ok(found.equals(content)),
    ({ code }: NodeJS.ErrnoException) => assert.equal(code, 'EIO'),
  );
  await change();
  await lab.restart('SIGKILL');
  await reading;
  const root = await lab.mount(snapshot);
  assert.ok((await readFile(join(root, 'file-1'))).equals(content));
  await lab.unmount(root);
  await lab.unmount(used);
  const keepers = await keepersBelow(lab.workspace.path);
  assert.equal(keepers.length, 1);
  assert.notEqual(keepers[0], keeper);
  await lab.crash(); // what was made again can be gone on with
  assert.deepEqual(await keepersBelow(lab.workspace.path), keepers);
}

const damages: { [name: string]: { spoil: (record: Record) => unknown; message: RegExp } } = {
  'a descriptor of something else as that of the connection': {
    spoil: ({ fuse, socket }) => (fuse.fd = socket.fd),
    message: /cannot take over the FUSE connection/,
  },
  'a descriptor of something else as that of the root directory': {
    spoil: ({ fuse, socket }) => (fuse.root = socket.fd),
    message: /cannot take over the FUSE connection/,
  },
  'that of the connection as that of the root directory': {
    spoil: ({ fuse }) => (fuse.root = fuse.fd),
    message: /cannot take over the FUSE connection/,
  },
  'a descriptor that is not there': { spoil: ({ fuse }) => (fuse.fd = 99), message: /cannot take over/ },
  'a descriptor of something else as that of a socket': {
    spoil: ({ socket, fuse }) => (socket.fd = fuse.fd),
    message: /cannot take over/,
  },
  'the path of another socket': {
    spoil: ({ socket }) => (socket.path = `${socket.path}.other`),
    message: /cannot take over/,
  },
  'a number in place of an object': {
    spoil: (record) => Object.assign(record, { fuse: 5 }),
    message: /record of the keeper is damaged/,
  },
  'another time at which the keeper started': {
    spoil: ({ keeper }) => keeper.startTicks++,
    message: /ending a keeper that no record names/,
  },
  'another boot': {
    spoil: (record) => Object.assign(record, { boot: 'x' }),
    message: /ending a keeper that no record names/,
  },
};

for (const [name, { spoil, message }] of Object.entries(damages)) {
  test(`A record of the keeper with ${name} ends in a fresh start, and no reader waits for ever`, async () => {
    await startAfter(async () => {
      const record = await readRecord();
      spoil(record);
      await writeFile(recordPath(), JSON.stringify(record));
    });
    assert.match(said().join('\n'), message);
  });
}

test('A record of the keeper that names another process leaves that alone', async () => {
  await using other = new Program({
    name: 'sleep',
    command: 'sleep',
    args: ['600'],
    log: join(lab.workspace.path, 'sleep.log'),
    env: {},
  });
  await startAfter(async () => {
    const keeper = identityOf(other.pid);
    await writeFile(recordPath(), JSON.stringify({ ...(await readRecord()), keeper }));
  });
  assert.notEqual(identityOf(other.pid), undefined);
  assert.match(said().join('\n'), /record of the keeper is damaged/);
});

const losses: { [name: string]: () => Promise<unknown> } = {
  'is lost': () => rm(recordPath()),
  'is empty': () => writeFile(recordPath(), ''),
  'is a directory': () => rm(recordPath()).then(() => mkdir(recordPath())),
};

for (const [name, lose] of Object.entries(losses)) {
  test(`A record of the keeper that ${name} ends in a fresh start, and no reader waits for ever`, async () => {
    await startAfter(lose);
    assert.match(said().join('\n'), /ending a keeper that no record names/);
  });
}
