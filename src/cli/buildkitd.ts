import { dirname } from 'node:path';
import { takeMirrorFlags } from '../buildkit/mirror.ts';
import { ownBuildkitd, usageOf } from '../buildkit/managed-buildkitd.ts';
import { ownPlaces } from '../buildkit/places.ts';
import { runBuildkit } from '../buildkit/run.ts';
import type { Environment } from './environment.ts';
import { say } from './output.ts';
import { tools } from './tools.ts';
import { checkUsage } from './usage-error.ts';
import { Verb } from './command.ts';

/** `lazypull buildkitd`: a buildkitd that is lazy, without configuration. */
export function buildkitdCommand({ env, name, self }: Environment): Verb {
  return new Verb('buildkitd')
    .description(
      'Run a buildkitd that is wired to lazypull, with a socket and a store of its own, and no configuration',
    )
    .usage('[flags of buildkitd]')
    .argument('[flags...]', 'flags of buildkitd')
    .option(
      '--mirror <registry>',
      'have the daemon serve a mirror, and buildkitd use it for this registry; can be given several times',
      (registry: string, others: string[] | undefined) => [...(others ?? []), registry],
    )
    .allowUnknownOption()
    .passThroughOptions()
    .explain(
      `Starts the daemon of its snapshotter unless that runs; it runs on afterwards, until "lazypull stop". Then this process becomes buildkitd: signals
and the exit code are buildkitd's, which is that of BUILDKIT_BIN_PATH (a directory), else of PATH. All flags of buildkitd
can be given; those of sockets, root and snapshotter are set where they are not.

With --mirror nothing is downloaded twice, also when an export needs the compressed layers of a lazy base. Who can reach the port of the mirror, on loopback,
reads what the daemon's credentials open.`,
      [
        'lazypull buildkitd',
        'lazypull buildkitd --group docker --debug',
        'lazypull buildkitd --mirror docker.io --mirror ghcr.io',
        'lazypull buildkitd --containerd-worker=true    # the same with a containerd, which is started too',
      ],
    )
    .action(async (flags: string[], { mirror = [] }: { mirror?: string[] }) => {
      const places = ownPlaces(env);
      const { registries, rest } = takeMirrorFlags([...mirror.map((each) => `--mirror=${each}`), ...flags]);
      const { args, address } = checkUsage(() => ownBuildkitd(rest, places));
      await runBuildkit({
        args,
        env,
        lazypull: self,
        tools,
        say: (text) => say(name, text),
        usage: usageOf(address),
        socketDirectory: address === `unix://${places.buildkitd}` ? dirname(places.buildkitd) : undefined,
        mirror: registries.length === 0 ? undefined : { registries, config: places.config },
      });
    });
}
