import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startDaemon } from '../support/daemon.ts';
import { type Builder, Lab, lazypullAgent } from '../support/lab.ts';
import { mountsBelow } from '../support/workspace.ts';

const reconnectMs = 10_000;
const ballast = /33e12f0a876d2a9199e2456f543c0daeef1ec039d95f3fa1530ee86275fbd858 {2}\/data\/ballast/;

let lab: Lab;

before(async () => {
  lab = await Lab.open();
});
afterEach(() => {
  lab.relay.intercept = undefined;
});
after(() => lab[Symbol.asyncDispose]());

/** A build that reads the file of the base and prints its digest. */
async function buildReading(builder: Builder, file: string): Promise<string> {
  const dockerfile = `ARG BASE\nFROM \${BASE}\nRUN sha256sum /data/${file}\n`;
  const context = await lab.context(file.replaceAll('/', '-'), dockerfile);
  const lines: string[] = [];
  await builder.buildkitd.build({
    context,
    buildArgs: { BASE: lab.reference('base:esgz') },
    onLine: (line) => lines.push(line),
  });
  return lines.join('\n');
}

/** A client that has lost its snapshotter tries to connect again after a pause of up to three seconds, and fails its calls until then. */
async function reconnected<T>(work: () => Promise<T>): Promise<T> {
  for (const deadline = Date.now() + reconnectMs; ; await delay(500)) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() > deadline || !String(error).includes('connection refused')) throw error;
    }
  }
}

/** lazypull's requests fail as if the registry were not there; those of the clients pass. */
function cutLazypullOff(): void {
  lab.relay.intercept = ({ agent }) => {
    if (lazypullAgent.test(agent)) throw new Error('Cut off');
    return undefined;
  };
}

test('A base is pulled by the client when lazypull cannot reach the registry, and the log says so once a build', async () => {
  cutLazypullOff();
  await using builder = await lab.builder('unreachable', 'oci');
  assert.match(await buildReading(builder, 'many/file-10'), /[0-9a-f]{64} {2}\/data\/many\/file-10/);
  const refusals = builder.daemon?.log().filter((line) => line['remote-snapshot-prepared'] === 'false') ?? [];
  assert.equal(refusals.length, 1);
  assert.match(String(refusals[0]?.['error']), new RegExp(`localhost:${lab.relay.port}`));
});

test('A read of missing data while the registry is away fails, is logged, and works when the registry is back', async () => {
  await using builder = await lab.builder('away', 'oci');
  await buildReading(builder, 'many/file-20');
  cutLazypullOff();
  await assert.rejects(buildReading(builder, 'ballast'), /I\/O error|Input\/output error/);
  const layer = lab.base.layers[0]?.digest ?? '';
  const errors = builder.daemon?.log().filter(({ level }) => level === 'error' || level === 'warn') ?? [];
  assert.ok(
    errors.some((line) => JSON.stringify(line).includes(layer)),
    `no error names the layer ${layer}: ${JSON.stringify(errors)}`,
  );
  lab.relay.intercept = undefined;
  assert.match(await buildReading(builder, 'ballast'), ballast);
});

for (const kind of ['oci', 'containerd'] as const) {
  test(`After kill -9 a new daemon serves the snapshots of the old one (${kind} worker)`, async () => {
    await using builder = await lab.builder(`killed-${kind}`, kind);
    await buildReading(builder, 'many/file-30');
    const old = builder.daemon;
    assert.ok(old);
    await old.program.stop('SIGKILL');
    await using daemon = await startDaemon(join(lab.workspace.path, `killed-${kind}`, 'lp'));
    const fetched = lab.relay.requests.length;
    assert.match(await reconnected(() => buildReading(builder, 'ballast')), ballast);
    const layers = lab.base.layers.map(({ digest }) => digest);
    const pulls = lab.relay.requests
      .slice(fetched)
      .filter(({ agent, path }) => !lazypullAgent.test(agent) && layers.some((digest) => path.includes(digest)));
    assert.deepEqual(pulls, [], 'the client pulled a layer that was there');
    assert.equal(daemon.program.outcome, undefined);
  });
}

test('SIGTERM leaves no mount behind', async () => {
  const directory = join(lab.workspace.path, 'stopped');
  {
    await using builder = await lab.builder('stopped', 'oci');
    await buildReading(builder, 'many/file-40');
  }
  assert.deepEqual(await mountsBelow(directory), []);
});
