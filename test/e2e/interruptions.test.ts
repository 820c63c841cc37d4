import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startBuildkitd } from '../support/buildkitd.ts';
import { startDaemon } from '../support/daemon.ts';
import { type Builder, Lab, lazypullAgent, workerOf } from '../support/lab.ts';
import { reconnected } from '../support/reconnected.ts';
import { releaseAll } from '../support/stores.ts';

const ballast = /33e12f0a876d2a9199e2456f543c0daeef1ec039d95f3fa1530ee86275fbd858 {2}\/data\/ballast/;
const prunes = 5;

let lab: Lab;
let context: string;

before(async () => {
  lab = await Lab.open();
  const call = `busybox wget -q -O /dev/null http://127.0.0.1:${lab.relay.port}/v2/`;
  context = await lab.context('read', `ARG BASE\nFROM \${BASE}\nRUN ${call} && sha256sum /data/ballast /data/many/*\n`);
});
after(() => lab[Symbol.asyncDispose]());

/** A build that reads most of the base. Gives its output. */
async function build({ buildkitd }: Pick<Builder, 'buildkitd'>): Promise<string> {
  const lines: string[] = [];
  await buildkitd.build({
    context,
    buildArgs: { BASE: lab.reference('base:esgz') },
    onLine: (line) => lines.push(line),
  });
  return lines.join('\n');
}

/**
 * Starts the build and, as soon as it waits for data of the base, does `interrupt`; the data comes after that. The step
 * calls the registry before it reads, so that it is known to run. Gives the output of the build, or its error.
 */
async function interrupted(builder: Builder, interrupt: () => unknown): Promise<string> {
  const waiting = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  let running = false;
  lab.relay.intercept = async ({ agent }) => {
    if (/wget/i.test(agent)) running = true;
    if (!running || !lazypullAgent.test(agent)) return undefined;
    waiting.resolve();
    await gate.promise;
    return undefined;
  };
  const building = build(builder).catch(String);
  try {
    const first = await Promise.race([waiting.promise, building]);
    assert.equal(first, undefined, 'the build ended before it read the base');
    await interrupt();
  } finally {
    lab.relay.intercept = undefined;
    gate.resolve();
  }
  return building;
}

for (const kind of ['oci', 'containerd'] as const) {
  describe(`With the ${kind} worker`, () => {
    let since: number;
    const start = async (name: string) => {
      since = lab.relay.requests.length;
      return lab.builder(`${name}-${kind}`, kind, true, 'no_background_fetch = true\n');
    };

    test('a build goes on while everything else is pruned', async () => {
      await using builder = await start('pruned');
      const output = await interrupted(builder, async () => {
        for (let i = 0; i < prunes; i++) await builder.buildkitd.buildctl('prune', '--all');
      });
      assert.match(output, ballast);
      await releaseAll(builder);
      assert.match(await build(builder), ballast);
      await releaseAll(builder);
      assert.deepEqual(lab.pulls(since), []);
    });

    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      test(`a buildkitd that got ${signal} in mid-build builds again, and leaves nothing`, async () => {
        await using builder = await start(signal.toLowerCase());
        // It waits for its build, so the build must get its data before that.
        let stopped: Promise<void> | undefined;
        await interrupted(builder, () => {
          stopped = builder.buildkitd.program.stop(signal);
        });
        await stopped;
        const worker = workerOf(builder.daemon, builder.containerd);
        await using buildkitd = await startBuildkitd(join(builder.directory, 'bk'), worker);
        assert.match(await build({ buildkitd }), ballast);
        assert.deepEqual(lab.pulls(since), []);
        await releaseAll({ ...builder, buildkitd });
      });
    }

    test('a build fails when lazypull is stopped under it; after a start it is there again, and leaves nothing', async () => {
      await using builder = await start('stopped');
      const output = await interrupted(builder, () => builder.daemon?.program.stop());
      assert.match(output, /did not complete successfully/);
      await using daemon = await startDaemon(join(builder.directory, 'lp'));
      assert.match(await reconnected(() => build(builder)), ballast);
      assert.deepEqual(lab.pulls(since), []);
      await releaseAll({ ...builder, daemon });
    });
  });
}
