import type { OptionRow } from '../../src/cli/command-table.ts';
import { whichDaemonRule } from '../../src/cli/which-daemon.ts';

/** What the manual says beside the commands. Text in backquotes is literal. */
export interface Item {
  readonly name: string;
  readonly text: string;
}

export const introduction = `lazypull is a remote snapshotter for BuildKit and containerd: the client gets every layer that has an index at once, and each part of it is fetched and verified when it is first read. \`lazypull daemon\` serves the client, and \`lazypull index\` makes indexes of images that have none. The other commands look at images, at daemons, and at what is kept.`;

/** Which daemon a command means. */
export const rule = whichDaemonRule;

export const exitCodes: readonly Item[] = [
  { name: '0', text: 'It was done.' },
  {
    name: '1',
    text: 'It could not be done, and standard error says why. Or the answer is no: `status` without a daemon, `why` with a layer that is not lazy, `check` with something wrong, `cache verify` with something damaged, `index verify` with an index that is wrong.',
  },
  { name: '2', text: 'Wrong usage: an unknown command or option, an argument that is missing or not possible.' },
  {
    name: '3',
    text: '`convert` has written the image, but a layer of it cannot be lazy; standard error says which, and why. Or `index` has made all indexes but that of a layer that can have none; standard output says which, and why.',
  },
  { name: '130', text: 'SIGINT or SIGTERM ended it before it was done.' },
];

export const exitCodesOfOthers =
  '`buildkitd` and `buildkit run` become buildkitd, so their exit code is that of buildkitd. A daemon that a signal ends as it should ends with 0.';

export const environment: readonly Item[] = [
  {
    name: 'LAZYPULL_ADDRESS',
    text: 'Socket of the daemon, if neither `--address` nor `--root` says which one is meant.',
  },
  {
    name: 'LAZYPULL_ROOT',
    text: 'Root of the daemon, if neither `--root` nor `--address` says which one is meant.',
  },
  { name: 'LAZYPULL_CONFIG', text: 'Configuration file, without `--config`.' },
  { name: 'LAZYPULL_LOG_LEVEL', text: 'Log level of the daemon, without `--log-level`.' },
  { name: 'LAZYPULL_LOG_FORMAT', text: 'Format of its log, without `--log-format`.' },
  {
    name: 'LAZYPULL_METRICS_ADDRESS',
    text: 'Where the daemon serves metrics, without `--metrics-address`.',
  },
  {
    name: 'LAZYPULL_MIRROR_ADDRESS',
    text: 'Where the daemon serves its mirror, without `--mirror-address`.',
  },
  {
    name: 'LAZYPULL_INDEX_REPOSITORY',
    text: 'Repository of layer indexes for the daemon, in place of `index.repository` in its file.',
  },
  {
    name: 'LAZYPULL_HOME',
    text: 'Directory of everything that `buildkitd` and `buildkit run` keep, their sockets and their log files, in place of directories in `/var/lib`, `/run` and `/var/log`. If it is set, commands mean the daemons below it, and no others.',
  },
  {
    name: 'BUILDKIT_BIN_PATH',
    text: 'Directory of the buildkitd that `buildkitd` and `buildkit run` run. By default it comes from `PATH`.',
  },
  {
    name: 'DOCKER_CONFIG',
    text: 'Directory of a `config.json` with credentials of registries, in place of `~/.docker`.',
  },
  {
    name: 'HTTP_PROXY, HTTPS_PROXY, NO_PROXY',
    text: 'Proxies for registries, and what is reached without them; in small letters too.',
  },
  {
    name: 'NO_COLOR, FORCE_COLOR, TERM, COLUMNS',
    text: 'Output has colours on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`; and with `FORCE_COLOR` elsewhere too. `COLUMNS` is the width of lines that go to no terminal.',
  },
  { name: 'NODE_EXTRA_CA_CERTS', text: 'File of certificate authorities that are trusted beside those of the system.' },
  { name: 'CONTAINERD_ADDRESS, CONTAINERD_NAMESPACE', text: 'Socket and namespace of containerd, for `pull`.' },
  {
    name: 'LAZYPULL_NOHUP',
    text: 'Set by the launcher under nohup(1): SIGHUP does not end the program.',
  },
  {
    name: 'TMPDIR',
    text: 'Where `mount`, `convert` and `index` keep what they need while they run, unless an option says it.',
  },
];

export const files: readonly Item[] = [
  { name: '/etc/containerd-stargz-grpc/config.toml', text: 'The configuration of the daemon. It may be missing.' },
  {
    name: '/etc/containerd/certs.d, /etc/docker/certs.d',
    text: 'Mirrors and certificates of registries, as containerd and Docker have them.',
  },
  { name: '~/.docker/config.json', text: 'Credentials of registries, as `docker login` writes them.' },
  { name: '/var/lib/containerd-stargz-grpc', text: 'Root of the daemon: the layers, the snapshots, and the traces.' },
  { name: '/run/containerd-stargz-grpc/containerd-stargz-grpc.sock', text: 'Socket of the daemon.' },
];

/** Options but for that of every command. */
export function withoutHelp(options: readonly OptionRow[]): OptionRow[] {
  return options.filter(({ long }) => long !== '--help');
}
