import { closeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { abortDetached } from '../../src/kernel/detached-mount.ts';
import { mountTable } from '../../src/kernel/mount.ts';
import { takeDescriptor } from '../../src/kernel/pidfd.ts';
import type { Random } from '../fuzz/random.ts';
import { keeperRecord } from '../support/attach.ts';
import { makeFault } from '../support/faults.ts';
import { lazypullAgent } from '../support/lab.ts';
import { tryRun } from '../support/program.ts';
import { keepersBelow } from '../support/workspace.ts';
import { type Builder, exportTypes } from './builder.ts';
import { type Disturbance, mayFailReads } from './excuse.ts';
import { chooseManner } from './manner.ts';
import type { Reader } from './reader.ts';
import type { World } from './world.ts';

/** What a soak works with. */
export interface Actors {
  readonly world: World;
  readonly reader: Reader;
  readonly builder: Builder;
}

/** Something that is done in a round, beside others. It says what it did. */
export interface Operation {
  readonly name: string;
  /** How often it is chosen, beside the others of its list. */
  readonly weight: number;
  readonly disturbs?: Disturbance;
  /** `beside` is what disturbs it. */
  run(actors: Actors, random: Random, apps: readonly App[], beside: ReadonlySet<Disturbance>): Promise<string>;
}

type App = World['apps'][number];

/**
 * What clients and operators do. Those of one lane do one after the other what they do to the images in `apps`, which
 * no other lane mounts.
 */
export const work: readonly Operation[] = [
  {
    name: 'build',
    weight: 30,
    run: ({ world, builder }, random) => {
      const [app, other] = [random.pick(world.apps), random.pick(world.apps)];
      return builder.read(app, other, random, 1 + random.below(12));
    },
  },
  {
    name: 'export',
    weight: 8,
    // BuildKit's exporter of directories waits for ever after a read that failed.
    run: ({ builder }, random, _, beside) =>
      builder.export(random.pick(exportTypes.filter((type) => type !== 'local' || !mayFailReads(beside)))),
  },
  {
    name: 'read',
    weight: 30,
    run: ({ reader }, random, apps) => reader.read(random.pick(apps), random, 5 + random.below(60)),
  },
  {
    name: 'read all',
    weight: 4,
    async run({ reader }, random, apps) {
      const app = random.pick(apps);
      await reader.readAll(app);
      return `read all of ${app.name}`;
    },
  },
  {
    name: 'release',
    weight: 12,
    async run({ reader }, random, apps) {
      const app = random.pick(apps);
      await reader.release(app);
      return `release of ${app.name}`;
    },
  },
  {
    name: 'forget',
    weight: 10,
    async run({ world, reader }, _, apps) {
      for (const app of apps) await reader.release(app);
      await world.buildkitd.buildctl('prune', '--all');
      return `release and prune of everything: ${lastLine(await world.lazypull('cache', 'prune'))}`;
    },
  },
  {
    name: 'prune',
    weight: 8,
    async run({ world }, random) {
      const args = random.pick([['--all'], ['--keep-storage', '10'], []]);
      await world.buildkitd.buildctl('prune', ...args);
      return `prune ${args.join(' ')}`.trimEnd();
    },
  },
  {
    name: 'cache prune',
    weight: 6,
    async run({ world }, random) {
      const args = random.pick([[], ['--keep-bytes', '10MB'], ['--all']]);
      return `cache prune ${args.join(' ')}: ${lastLine(await world.lazypull('cache', 'prune', ...args))}`;
    },
  },
  {
    name: 'cache verify',
    weight: 4,
    async run({ world }) {
      const lines = (await world.lazypull('cache', 'verify')).trimEnd().split('\n');
      return `cache verify: ${lines.filter((line) => line.includes('ok')).length} of ${lines.length} layers ok`;
    },
  },
  {
    name: 'look',
    weight: 4,
    async run({ world }, random) {
      await world.lazypull('status', '--json');
      await world.lazypull('cache', 'ls');
      // It says what became of a layer in an earlier round, and fails if that was not lazy.
      await world.lazypull('why', random.pick(world.apps).reference).catch((error: unknown) => {
        if (!/the registry gives it now/.test(String(error))) throw error;
      });
      return 'status, cache ls, why';
    },
  },
  {
    name: 'drop',
    weight: 4,
    async run() {
      await writeFile('/proc/sys/vm/drop_caches', '3');
      return 'page cache dropped';
    },
  },
];

/** What happens to the daemon and to buildkitd: one of these a round at most. */
export const strokes: readonly Operation[] = [
  stroke('kill', 10, async ({ world }, random) => {
    await world.daemon.program.stop('SIGKILL');
    const lives = random.below(3) === 0 ? [random.below(600)] : [];
    const how = changeManner(world, random);
    for (const ms of lives) {
      const next = await world.launch();
      await delay(ms);
      await next.program.stop('SIGKILL');
    }
    await delay(random.below(4) === 0 ? random.below(3000) : 0);
    await world.start();
    return `kill of the daemon${how}${lives.map((ms) => `, of the next one after ${ms} ms`).join('')}`;
  }),
  stroke('takeover', 4, async ({ world }, random) => {
    const how = changeManner(world, random);
    await world.start('--takeover');
    return `takeover${how}`;
  }),
  stroke('stop', 2, async ({ world, reader }) => {
    await world.daemon.program.stop('SIGTERM');
    await world.start();
    await reader.forgetMounts();
    return 'stop of the daemon';
  }),
  stroke('keeper', 2, async ({ world, reader }) => {
    await world.daemon.program.stop('SIGKILL');
    for (const keeper of await keepersBelow(world.workspace.path)) process.kill(keeper, 'SIGKILL');
    await world.start();
    await reader.forgetMounts();
    return 'kill of the daemon and its keeper';
  }),
  stroke('abort', 3, async ({ world, reader }) => {
    const { keeper, fuse } = await keeperRecord(world.daemon.root);
    const root = await takeDescriptor(keeper.pid, fuse.root!);
    try {
      await abortDetached(root);
    } finally {
      closeSync(root);
    }
    await reader.forgetMounts();
    return 'abort of the FUSE connection';
  }),
  // Mounts on top of a layer go on, and a client that asks for the layer gets it all the same.
  stroke('unmount', 3, async ({ world }, random) => {
    const points = (await mountTable(world.data)).filter(({ type }) => type === 'erofs');
    const some = points.filter(() => random.below(2) === 0);
    for (const { path } of some)
      await tryRun('umount', [random.pick(['--force', '--lazy']), '--no-canonicalize', path]);
    return `umount of ${some.length} layers of ${points.length}`;
  }),
  stroke('buildkitd', 2, async ({ world }, random) => {
    await world.buildkitd.program.stop(random.pick(['SIGKILL', 'SIGTERM']));
    await world.startBuildkitd();
    return 'end of buildkitd';
  }),
];

/** What the registry does to lazypull, but not to buildkitd: one of these a round at most. */
export const faults: readonly Operation[] = [
  {
    name: 'faults',
    weight: 10,
    disturbs: 'faults',
    async run({ world }, random) {
      const count = 1 + random.below(40);
      for (let i = 0; i < count; i++) {
        makeFault(world.registry, random, 'lying', { agent: lazypullAgent });
        await delay(random.below(100));
      }
      return `${count} faults of the registry`;
    },
  },
  {
    name: 'slow',
    weight: 12,
    disturbs: 'slow',
    async run({ world }, random) {
      const count = 5 + random.below(40);
      for (let i = 0; i < count; i++) {
        const bytes = 2_000 + random.below(60_000);
        const fault =
          random.below(2) === 0
            ? ({ kind: 'drip', bytes, everyMs: 5 + random.below(40) } as const)
            : ({ kind: 'delay', ms: random.below(1000) } as const);
        world.registry.script({ agent: lazypullAgent }, fault);
      }
      await delay(random.below(2000));
      return `${count} slow answers of the registry`;
    },
  },
  {
    name: 'down',
    weight: 4,
    disturbs: 'down',
    async run({ world }, random) {
      const [after, ms] = [random.below(1000), random.below(3000)];
      await delay(after);
      await world.registry.die();
      await delay(ms);
      await world.registry.revive();
      return `registry away for ${ms} ms after ${after} ms`;
    },
  },
];

/** Has the daemons that are started from now on be started in another way. @returns what it is */
function changeManner(world: World, random: Random): string {
  world.manner = chooseManner(random, world.data, world.group);
  return world.manner.name;
}

/** What comes at some time of a round, and gives its own name to what it disturbs. */
function stroke(
  name: Disturbance,
  weight: number,
  strike: (actors: Actors, random: Random) => Promise<string>,
): Operation {
  return {
    name,
    weight,
    disturbs: name,
    async run(actors, random) {
      const after = random.below(1500);
      await delay(after);
      return `${await strike(actors, random)}, begun after ${after} ms`;
    },
  };
}

/** One of a list, by weight. */
export function choose(operations: readonly Operation[], random: Random): Operation {
  let at = random.below(operations.reduce((sum, { weight }) => sum + weight, 0));
  return operations.find(({ weight }) => (at -= weight) < 0)!;
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? '';
}
