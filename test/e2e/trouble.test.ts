import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { type Builder, Lab, lazypullAgent } from '../support/lab.ts';
import { mountsBelow } from '../support/workspace.ts';

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
  test(`A build goes on when the daemon is killed under it and another one is started (${kind} worker)`, async () => {
    await using builder = await lab.builder(`killed-${kind}`, kind);
    const command = 'sha256sum /data/many/file-30; sleep 1; echo and now; sha256sum /data/ballast';
    const dockerfile = `ARG BASE\nFROM \${BASE}\nRUN ${command}\nRUN echo done > /done\n`;
    const lines: string[] = [];
    let next: Promise<Daemon> | undefined;
    const fetched = lab.relay.requests.length;
    const building = builder.buildkitd.build({
      context: await lab.context(`killed-${kind}`, dockerfile),
      buildArgs: { BASE: lab.reference('base:esgz') },
      onLine(line) {
        lines.push(line);
        if (/many\/file-30/.test(line) && !line.includes('RUN')) next ??= replace(builder, `killed-${kind}`);
      },
    });
    await building;
    assert.ok(next);
    await using daemon = await next;
    assert.match(lines.join('\n'), ballast);
    assert.deepEqual(lab.pulls(fetched), [], 'the client pulled a layer that was there');
    assert.match(await buildReading(builder, 'many/file-31'), /[0-9a-f]{64} {2}\/data\/many\/file-31/);
    assert.equal(daemon.program.outcome, undefined);
  });
}

/** Kills the daemon of a builder and starts another one with its state. */
async function replace({ daemon }: Builder, name: string): Promise<Daemon> {
  await daemon!.program.stop('SIGKILL');
  return startDaemon(join(lab.workspace.path, name, 'lp'));
}

test('SIGTERM leaves no mount behind', async () => {
  const directory = join(lab.workspace.path, 'stopped');
  {
    await using builder = await lab.builder('stopped', 'oci');
    await buildReading(builder, 'many/file-40');
  }
  assert.deepEqual(await mountsBelow(directory), []);
});
