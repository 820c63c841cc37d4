import { printable } from '../util/printable.ts';
import type { Environment } from './environment.ts';
import { say } from './output.ts';
import { CliCommand } from './command.ts';
import { chooseDaemon, type DaemonChoice, whichDaemon } from './which-daemon.ts';

/** `lazypull stop`: ends a daemon and its keeper. */
export function stopCommand(environment: Environment): CliCommand {
  const { name } = environment;
  return chooseDaemon(
    new CliCommand('stop').description('End a daemon that runs in the background, with its mounts and its keeper'),
  )
    .explain(
      `It does what SIGTERM does, and waits until the daemon, its mounts and its keeper are gone. Programs that still use its layers get errors
where a layer is not complete. What is fetched stays on the disk, for the next daemon. If a daemon was killed, this ends its keeper, which lets
readers wait. Use "systemctl stop" for a daemon that systemd runs.

The exit code is 0 if the daemon was ended, and 1 if there is none, or if it does not end.`,
      ['lazypull stop', 'lazypull stop --address /run/lazypull-buildkitd/snapshotter.sock'],
    )
    .action(async (options: DaemonChoice) => {
      const { stopDaemon } = await import('../daemon/stop.ts');
      const { address, root } = await whichDaemon(options, environment, 'stops');
      const { isServed } = await import('../daemon/living.ts');
      const users = (await isServed(address)) === true ? await usersOf(address) : [];
      for (const user of users) {
        say(
          name,
          `${printable(user.command)}, process ${user.pid}, uses it: what it builds or runs on its layers fails`,
        );
      }
      const { daemon, keeper, mounts } = await stopDaemon(root, address);
      if (daemon === undefined && keeper === undefined) {
        say(name, `No daemon ran at "${address}": ended what would have started another one`);
      } else if (daemon === undefined) {
        say(name, `No daemon ran at "${address}": ended the keeper of one that was killed, process ${keeper}`);
      } else {
        say(name, `Stopped the daemon at "${address}", process ${daemon}`);
      }
      const left = mounts === 0 ? 'Nothing of it is mounted any more' : `${mounts} mounts of it are left`;
      say(name, `${left}; what it fetched is kept in "${root}"`);
    });
}

/** The processes that use a daemon; none if it does not answer. */
async function usersOf(address: string): Promise<{ pid: number; command: string }[]> {
  const { StatusClient } = await import('../status/status-client.ts');
  using client = new StatusClient(address);
  const status = await client.status().catch(() => undefined);
  return status?.clients.flatMap(({ process }) => process ?? []) ?? [];
}
