import { resolve } from 'node:path';
import { Argument } from 'commander';
import { daemonAddress, daemonRoot, defaults } from '../config/load.ts';
import { parseListenAddress } from '../config/listen-address.ts';
import { LazypullError } from '../errors.ts';
import type { ClientName } from '../setup/client-setups.ts';
import { printable } from '../util/printable.ts';
import type { Environment } from './environment.ts';
import { ExitError, printError, printText, say } from './output.ts';
import { checkUsage } from './usage-error.ts';
import { CliCommand } from './command.ts';

interface Options {
  write?: boolean;
  file?: string;
  address?: string;
  root?: string;
  mirror?: string;
  registry?: string[];
}

/** `lazypull setup buildkit|containerd|docker`: adds what a client needs to its configuration. */
export function setupCommand({ env, name }: Environment): CliCommand {
  return new CliCommand('setup')
    .description('Print what an existing BuildKit, containerd or Docker needs in its configuration, or write it there')
    .addArgument(new Argument('<client>', 'the client').choices(['buildkit', 'containerd', 'docker']))
    .option('--write', 'put it into the file, keeping what is there, with a copy of the old file beside it')
    .option(
      '--file <file>',
      'file of the client (default: /etc/buildkit/buildkitd.toml, /etc/containerd/config.toml or /etc/docker/daemon.json)',
    )
    .option('--address <path>', `socket of the daemon for this client (default: ${defaults.address})`)
    .option('--root <dir>', `root of that daemon (default: ${defaults.root})`)
    .option('--mirror <host:port>', "use that daemon's mirror too, which it serves at its --mirror-address")
    .option(
      '--registry <host...>',
      'registries that are asked through the mirror (default: docker.io for BuildKit, all for the others)',
    )
    .explain(
      `Each client needs a socket of its own. For a second client, give the daemon one more --address, and give that address to the client.`,
      [
        'lazypull setup buildkit',
        'lazypull setup containerd --write',
        'lazypull setup buildkit --write --address /run/lazypull/buildkit.sock',
        'lazypull setup buildkit --write --mirror 127.0.0.1:8235 --registry docker.io ghcr.io',
      ],
    )
    .action(async (client: ClientName, options: Options) => {
      const { clientSetups } = await import('../setup/client-setups.ts');
      const { changeFile } = await import('../setup/change-file.ts');
      const setup = clientSetups[client];
      const { checkRegistry } = await import('../setup/mirror-files.ts');
      const places = {
        address: daemonAddress(options.address, env),
        root: daemonRoot(options.root, env),
        mirror: checkUsage(() => mirrorOf(client, options, checkRegistry)),
      };
      const main = {
        file: resolve(options.file ?? setup.file),
        snippet: setup.snippet(places),
        apply: (text: string) => setup.apply(text, places),
      };
      const files = [main, ...(setup.hosts?.(places) ?? [])];
      for (const { file, snippet, apply } of files) {
        if (options.write !== true) {
          printText(snippet);
          say(name, `This belongs into "${file}"; --write puts it there.`);
          continue;
        }
        try {
          const { changed, backup } = await changeFile(file, apply);
          const kept = backup === undefined ? '' : `; the old one is "${backup}"`;
          say(name, changed ? `Wrote "${file}"${kept}` : `"${file}" has it already`);
        } catch (error) {
          printError(name, error);
          say(name, 'Nothing was changed in it. Put this there by hand:');
          printText(snippet);
          throw new ExitError(1);
        }
      }
      say(name, 'Then, if not done yet:');
      process.stderr.write(
        setup
          .next(places)
          .map((line) => `  - ${printable(line)}\n`)
          .join(''),
      );
    });
}

/** Throws InvalidArgument for flags that cannot be used together. */
function mirrorOf(
  client: ClientName,
  { mirror, registry = [] }: Options,
  checkRegistry: (name: string) => void,
): { address: string; registries: string[] } | undefined {
  if (mirror === undefined) {
    if (registry.length === 0) return undefined;
    throw new LazypullError('InvalidArgument', 'Cannot use --registry without --mirror');
  }
  parseListenAddress(mirror, 'the mirror');
  for (const name of registry) checkRegistry(name);
  return { address: mirror, registries: registry.length === 0 && client === 'buildkit' ? ['docker.io'] : registry };
}
