import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { startDaemon } from '../support/daemon.ts';
import { type Builder, Lab, lazypullAgent } from '../support/lab.ts';
import { mountsBelow } from '../support/workspace.ts';

let lab: Lab;

before(async () => {
  lab = await Lab.open();
});
afterEach(() => {
  lab.relay.intercept = undefined;
});
after(() => lab[Symbol.asyncDispose]());

/** A build that reads `/data/many/file-N`, which only this build reads, and prints its size. */
async function buildReading(builder: Builder, file: number, image = 'base:esgz'): Promise<string> {
  const context = await lab.context(`file-${file}`, `ARG BASE\nFROM \${BASE}\nRUN wc -c /data/many/file-${file}\n`);
  const lines: string[] = [];
  await builder.buildkitd.build({
    context,
    buildArgs: { BASE: lab.reference(image) },
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
  assert.match(await buildReading(builder, 10), new RegExp(`${(10 * 997) % 65_536} /data/many/file-10`));
  const refusals = builder.daemon?.log().filter((line) => line['remote-snapshot-prepared'] === 'false') ?? [];
  assert.equal(refusals.length, 1);
  assert.match(String(refusals[0]?.['error']), new RegExp(`localhost:${lab.relay.port}`));
});

test('A read of missing data while the registry is away fails, is logged, and works when the registry is back', async () => {
  await using builder = await lab.builder('away', 'oci');
  await buildReading(builder, 20);
  cutLazypullOff();
  await assert.rejects(buildReading(builder, 390), /I\/O error|Input\/output error/);
  const layer = lab.base.layers[0]?.digest ?? '';
  const errors = builder.daemon?.log().filter(({ level }) => level === 'error' || level === 'warn') ?? [];
  assert.ok(
    errors.some((line) => JSON.stringify(line).includes(layer)),
    `no error names the layer ${layer}: ${JSON.stringify(errors)}`,
  );
  lab.relay.intercept = undefined;
  assert.match(await buildReading(builder, 390), new RegExp(`${(390 * 997) % 65_536} /data/many/file-390`));
});

for (const kind of ['oci', 'containerd'] as const) {
  test(`After kill -9 a new daemon serves the snapshots of the old one (${kind} worker)`, async () => {
    await using builder = await lab.builder(`killed-${kind}`, kind);
    await buildReading(builder, 30);
    const old = builder.daemon;
    assert.ok(old);
    await old.program.stop('SIGKILL');
    await using daemon = await startDaemon(join(lab.workspace.path, `killed-${kind}`, 'lp'));
    const fetched = lab.relay.requests.length;
    assert.match(await buildReading(builder, 395), new RegExp(`${(395 * 997) % 65_536} /data/many/file-395`));
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
    await buildReading(builder, 40);
  }
  assert.deepEqual(await mountsBelow(directory), []);
});
