import { fileURLToPath } from 'node:url';
import { ownBuildkitd, usageOf } from '../buildkit/own.ts';
import { ownPlaces } from '../buildkit/places.ts';
import { runBuildkit } from '../buildkit/run.ts';
import type { Environment } from './main.ts';
import { say } from './output.ts';
import { Verb } from './verb.ts';

/** Where script/setup puts what it builds. */
const tools = fileURLToPath(new URL('../../.cache/bin', import.meta.url));

/** `lazypull buildkitd`: a buildkitd that is lazy, without configuration. */
export function buildkitdCommand({ env, name, self }: Environment): Verb {
  return new Verb('buildkitd')
    .description(
      'Run a buildkitd that is wired to lazypull, with a socket and a store of its own, and no configuration',
    )
    .usage('[flags of buildkitd]')
    .argument('[flags...]', 'flags of buildkitd')
    .allowUnknownOption()
    .passThroughOptions()
    .explain(
      `Starts the daemon of its snapshotter unless that runs; it runs on afterwards. Then this process becomes buildkitd: signals
and the exit code are buildkitd's, which is that of BUILDKIT_BIN_PATH (a directory), else of PATH. All flags of buildkitd
can be given; those of sockets, root and snapshotter are set where they are not.`,
      [
        'lazypull buildkitd',
        'lazypull buildkitd --group docker --debug',
        'lazypull buildkitd --containerd-worker=true    # the same with a containerd, which is started too',
      ],
    )
    .action(async (flags: string[]) => {
      const { args, address } = ownBuildkitd(flags, ownPlaces(env));
      await runBuildkit({ args, env, lazypull: self, tools, say: (text) => say(name, text), usage: usageOf(address) });
    });
}
