import { dirname } from 'node:path';
import { takeMirrorFlags } from '../buildkit/mirror-config.ts';
import { ownBuildkitd, usageOf } from '../buildkit/managed-buildkitd.ts';
import { ownPlaces } from '../buildkit/places.ts';
import { runBuildkit } from '../buildkit/run.ts';
import type { Environment } from './environment.ts';
import { say } from './output.ts';
import { tools } from './tools.ts';
import { checkUsage } from './usage-error.ts';
import { CliCommand } from './command.ts';

/** `lazypull buildkitd`: a buildkitd that is lazy, without configuration. */
export function buildkitdCommand({ env, name, self }: Environment): CliCommand {
  return new CliCommand('buildkitd')
    .description('Run a buildkitd that uses lazypull, with its own socket and store: nothing has to be configured')
    .usage('[flags of buildkitd]')
    .argument('[flags...]', 'flags of buildkitd')
    .option(
      '--mirror <registry>',
      'let the daemon serve a mirror, and buildkitd use it for this registry (repeatable)',
      (registry: string, others: string[] | undefined) => [...(others ?? []), registry],
    )
    .allowUnknownOption()
    .passThroughOptions()
    .explain(
      `It starts the daemon of its snapshotter, unless that runs already; the daemon keeps running until "lazypull stop", and is
started again if it is killed. Then this process
becomes buildkitd, so signals and the exit code are those of buildkitd. It is taken from BUILDKIT_BIN_PATH (a directory), else from PATH.
It takes all flags of buildkitd. Those for sockets, root and snapshotter have defaults.

With --mirror nothing is downloaded twice, even if an export needs the compressed layers of a lazy base. Access to the port of the mirror, which
is on loopback, gives access to everything that the daemon's credentials open.`,
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
