import { resolve } from 'node:path';
import { Argument } from 'commander';
import { daemonAddress, daemonRoot, defaults } from '../config/load.ts';
import type { ClientName } from '../setup/clients.ts';
import type { Environment } from './main.ts';
import { ExitError, printError, say } from './output.ts';
import { Verb } from './verb.ts';

interface Options {
  write?: boolean;
  file?: string;
  address?: string;
  root?: string;
}

/** `lazypull setup buildkit|containerd|docker`: what a client needs in its configuration. */
export function setupCommand({ env, name }: Environment): Verb {
  return new Verb('setup')
    .description('Print what an existing BuildKit, containerd or Docker needs in its configuration, or write it there')
    .addArgument(new Argument('<client>', 'the client').choices(['buildkit', 'containerd', 'docker']))
    .option('--write', 'put it into the file, keeping what is there, with a copy of the old file beside it')
    .option(
      '--file <file>',
      'file of the client (default: /etc/buildkit/buildkitd.toml, /etc/containerd/config.toml or /etc/docker/daemon.json)',
    )
    .option('--address <path>', `socket of the daemon for this client (default: ${defaults.address})`)
    .option('--root <dir>', `root of that daemon (default: ${defaults.root})`)
    .explain(
      `Each client needs a socket of its own: give the daemon one more --address for a second one, and that to the client.`,
      [
        'lazypull setup buildkit',
        'lazypull setup containerd --write',
        'lazypull setup buildkit --write --address /run/lazypull/buildkit.sock',
      ],
    )
    .action(async (client: ClientName, options: Options) => {
      const { clientSetups } = await import('../setup/clients.ts');
      const { changeFile } = await import('../setup/change-file.ts');
      const setup = clientSetups[client];
      const places = { address: daemonAddress(options.address, env), root: daemonRoot(options.root, env) };
      const file = resolve(options.file ?? setup.file);
      if (options.write !== true) {
        process.stdout.write(setup.snippet(places));
        say(name, `This belongs into "${file}"; --write puts it there. Then:`);
      } else {
        try {
          const { changed, backup } = await changeFile(file, (text) => setup.apply(text, places));
          const kept = backup === undefined ? '' : `; the old one is "${backup}"`;
          say(name, changed ? `Wrote "${file}"${kept}. Now:` : `"${file}" has it already. If not done yet:`);
        } catch (error) {
          printError(name, error);
          say(name, 'Nothing was changed. Put this into the file by hand:');
          process.stdout.write(setup.snippet(places));
          throw new ExitError(1);
        }
      }
      for (const line of setup.next(places)) process.stderr.write(`  - ${line}\n`);
    });
}
