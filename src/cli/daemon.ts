import { Option } from 'commander';
import { type DaemonConfig, type DaemonFlags, defaults, loadConfig } from '../config/load.ts';
import { explain } from '../errors.ts';
import { logFormats, logLevels } from '../log.ts';
import { version } from '../version.ts';
import type { Environment } from './environment.ts';
import { ExitError, printText } from './output.ts';
import { CliCommand } from './command.ts';

/** Names of the daemon's flags. They may also be written with one dash, as Go programs take them. */
const goFlags = new Set([
  'address',
  'root',
  'config',
  'log-level',
  'log-format',
  'metrics-address',
  'mirror-address',
  'takeover',
  'version',
  'help',
]);

/** The flags that take no value. */
const switches = new Set(['takeover', 'version', 'help']);

/** `lazypull daemon`, also called `containerd-stargz-grpc`. */
export function daemonCommand(environment: Environment): CliCommand {
  return new CliCommand('daemon')
    .description('Serve the snapshotter until SIGTERM or SIGINT, or SIGUSR2 to hand over to the next daemon')
    .option(
      '--address <path>',
      `socket to serve, once for each client; keep the order (default: ${defaults.address})`,
      (path: string, before: string[] | undefined) => [...(before ?? []), path],
    )
    .option('--root <directory>', `where everything is kept (default: ${defaults.root})`)
    .option('--config <file>', `config.toml (default: ${defaults.config}, which may be missing)`)
    .addOption(logLevelOption())
    .addOption(logFormatOption())
    .option('--metrics-address <host:port>', 'serve Prometheus metrics at /metrics and /healthz (default: nowhere)')
    .option('--mirror-address <host:port>', 'serve a pull-through mirror of all registries (default: nowhere)')
    .option('--takeover', 'take the place of the daemon that has the root; readers and clients only wait')
    .option('-V, --version', 'print the version')
    .explain(
      `It needs root; "lazypull check" says what else. It logs to standard error: lines for people on a terminal, and elsewhere JSON, an object a line.
Flags may have one dash too. A flag wins over the environment, the environment over the file, and the file over the default.

SIGTERM, SIGINT and the end of the terminal that it was started from unmount everything and end it; a second signal ends it at once. SIGUSR2 ends
it and leaves everything mounted.`,
      [
        'lazypull daemon',
        'lazypull daemon --takeover    # a new version in the place of the one that runs',
        'lazypull daemon --address /run/lazypull/containerd.sock --address /run/lazypull/buildkit.sock    # two clients',
      ],
    )
    .allowExcessArguments(false)
    .action(async (flags: DaemonFlags & { version?: boolean }) => {
      if (flags.version === true) {
        printText(`${environment.name} ${version}\n`);
        return;
      }
      const config = await loadOrExit(flags, environment);
      const { runDaemonProcess } = await import('../daemon/process.ts');
      await runDaemonProcess(config, environment.env);
    });
}

/** The levels are offered, not enforced: loadConfig also takes them in capitals. */
function logLevelOption(): Option {
  const option = new Option('--log-level <level>', `the least level that is logged (default: ${defaults.logLevel})`);
  option.argChoices = [...logLevels];
  return option;
}

function logFormatOption(): Option {
  const text = `lines for people, or JSON; auto is text on a terminal (default: ${defaults.logFormat})`;
  const option = new Option('--log-format <format>', text);
  option.argChoices = [...logFormats];
  return option;
}

/** Turns `-address x` and `-address=x` into two dashes. Values are left alone, even if they look like flags. */
export function withTwoDashes(args: readonly string[]): string[] {
  const result: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (arg === '-v') {
      result.push('--version');
      continue;
    }
    const name = /^--?([a-z][a-z-]*)(?:=|$)/.exec(arg)?.[1];
    if (arg === '--' || name === undefined || !goFlags.has(name)) {
      result.push(arg);
      continue;
    }
    result.push(arg.startsWith('--') ? arg : `-${arg}`);
    const takesNext = !arg.includes('=') && !switches.has(name);
    if (takesNext && i + 1 < args.length) result.push(args[++i] ?? '');
  }
  return result;
}

/** An error in the configuration goes to the log, like everything else that the daemon says. */
async function loadOrExit(flags: DaemonFlags, environment: Environment): Promise<DaemonConfig> {
  try {
    return await loadConfig(flags, environment.env);
  } catch (error) {
    const format = logFormats.find((known) => known === (flags.logFormat ?? environment.env.LAZYPULL_LOG_FORMAT));
    const { createLog } = await import('../process-log.ts');
    createLog('info', format).fatal({ error: explain(error) }, 'Cannot start');
    throw new ExitError(1);
  }
}
