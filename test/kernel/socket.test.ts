import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { errnoOf } from '../../src/errors.ts';
import { mountsBelow } from '../../src/kernel/mount.ts';
import { estargzBlob } from '../support/estargz-blob.ts';
import { LayerLab } from '../support/layer-lab.ts';
import { tryRun } from '../support/program.ts';
import { retried, until } from '../support/until.ts';

/** More rounds tell more: the environment may ask for them. */
const rounds = Number(process.env['ROUNDS'] ?? 80);
const warmUpRounds = 30;

const maxGrowthMb = 60;
/** Connections to the registry come and go; what is lost in every round, or every tenth, is more than that. */
const maxMoreDescriptors = 4;

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
after(() => lab[Symbol.asyncDispose]());

/** What a daemon holds that it could fail to give back. */
async function held(): Promise<{ descriptors: number; mounts: number; memoryMb: number }> {
  const status = await readFile(`/proc/${lab.pid}/status`, 'utf8');
  return {
    descriptors: (await readdir(`/proc/${lab.pid}/fd`)).length,
    mounts: (await mountsBelow(lab.workspace.path)).length,
    memoryMb: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1000,
  };
}

/** What is held once everything that can end has ended; `before` is what it should come down to. */
async function heldInTheEnd(before: { descriptors: number; mounts: number }) {
  let now = await held();
  const isBack = async (): Promise<boolean> => {
    now = await held();
    return now.descriptors <= before.descriptors && now.mounts <= before.mounts;
  };
  await until(isBack, '', 10_000).catch(() => undefined); // the caller compares what is left
  return now;
}

/** A connection to the daemon. The kernel lets some 500 wait to be accepted, and refuses more for the moment. */
function connected(): Promise<Socket> {
  const attempt = async (): Promise<Socket> => {
    const socket = connect(lab.socket);
    await once(socket, 'connect');
    return socket.on('error', () => {});
  };
  return retried(attempt, (error) => errnoOf(error) === 'EAGAIN');
}

const layerOf = (text: string) => lab.layer(estargzBlob([{ path: text, type: 'reg', content: Buffer.from(text) }]));

test('Preparing and removing layers again and again leaves no descriptor, no mount and no memory behind', async (t) => {
  const kept = layerOf('kept');
  const round = async (i: number) => {
    const layers = [kept, layerOf(`layer ${i}`)];
    const snapshot = await lab.prepare(layers);
    if (i % 10 === 0) await lab.unmount(await lab.mount(snapshot));
    await lab.remove(snapshot, layers.length);
    lab.registry.blobs.delete(layers[1]!.digest);
  };
  for (let i = 0; i < warmUpRounds; i++) await round(i);
  const start = await heldInTheEnd({ descriptors: 0, mounts: 0 });
  for (let i = 0; i < rounds; i++) await round(warmUpRounds + i);
  const end = await heldInTheEnd(start);
  t.diagnostic(`${rounds} rounds: ${JSON.stringify(start)} before, ${JSON.stringify(end)} after`);
  assert.ok(end.descriptors <= start.descriptors + maxMoreDescriptors, JSON.stringify([start, end]));
  assert.ok(end.mounts <= start.mounts, JSON.stringify([start, end]));
  assert.ok(end.memoryMb < start.memoryMb + maxGrowthMb, JSON.stringify([start, end]));
});

test('A thousand connections that say nothing cost little, and are gone with their clients', async (t) => {
  const start = await held();
  const sockets: Socket[] = [];
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  for (let i = 0; i < 1000; i++) {
    const socket = await connected();
    sockets.push(socket);
    if (i % 2 === 0) socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  }
  await lab.prepare([layerOf('served meanwhile')]);
  const meanwhile = await held();
  t.diagnostic(`1000 connections take ${Math.round(meanwhile.memoryMb - start.memoryMb)} MB`);
  assert.ok(meanwhile.memoryMb < start.memoryMb + 150, JSON.stringify([start, meanwhile]));
  for (const socket of sockets) socket.destroy();
  const end = await heldInTheEnd({ descriptors: start.descriptors + 20, mounts: Infinity });
  assert.ok(end.descriptors <= start.descriptors + 20, JSON.stringify([start, end]));
});

/**
 * A socket that hands everything on to the daemon: programs that use it are this process to the daemon, of which a
 * socket serves one.
 */
async function forwarded(t: TestContext): Promise<string> {
  const path = join(lab.workspace.path, 'forward.sock');
  const server = createServer((socket) => {
    const daemon = connect(lab.socket);
    for (const [from, to] of [
      [socket, daemon],
      [daemon, socket],
    ] as const) {
      from.on('error', () => {}).pipe(to);
      from.once('close', () => to.destroy());
    }
  }).listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  return path;
}

test('A second process cannot change the snapshots of the first one, and both learn why', async () => {
  const snapshot = await lab.prepare([layerOf('of the first client')]);
  const second = fileURLToPath(new URL('../support/dying-client.ts', import.meta.url));
  const layer = layerOf('of the second client');
  const { status, stderr } = await tryRun(process.execPath, [second, lab.socket, lab.reference, JSON.stringify(layer)]);
  assert.notEqual(status, 0);
  const reason = new RegExp(`process ${process.pid} \\([^)]+\\) has it, and process \\d+ \\([^)]+\\) is refused`);
  assert.match(stderr, reason);
  assert.ok(lab.complaints.some(({ level, msg }) => level === 'error' && reason.test(String(msg))));
  await lab.remove(snapshot, 1);
});

test('Clients that are killed in the middle of a call leave nothing behind', async (t) => {
  const socket = await forwarded(t);
  const client = fileURLToPath(new URL('../support/dying-client.ts', import.meta.url));
  const start = await held();
  for (let i = 0; i < 5; i++) {
    const layer = layerOf(`never waited for ${i}`);
    lab.registry.script({ path: new RegExp(layer.digest) }, { kind: 'drip', bytes: 100, everyMs: 100 });
    const asked = lab.registry.requests.length;
    const program = spawn(process.execPath, [client, socket, lab.reference, JSON.stringify(layer)], {
      stdio: 'inherit',
    });
    await until(() => lab.registry.requests.length > asked);
    program.kill('SIGKILL');
    await once(program, 'exit');
    assert.ok(!(await lab.removeIfThere(`dying-${layer.digest}-0`)), 'a call without its client makes no snapshot');
  }
  const end = await heldInTheEnd(start);
  assert.ok(end.descriptors <= start.descriptors && end.mounts <= start.mounts, JSON.stringify([start, end]));
});
