import { LazypullError } from '../errors.ts';

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** The directory of the repository in the container; the image is built with it. */
const workDirectory = '/lazypull';

/** Directories that must not lie on the container's own overlay file system: overlays are mounted on them. */
const stateDirectories = [
  '/var/lib/buildkit',
  '/var/lib/containerd-stargz-grpc',
  '/var/lib/lazypull',
  '/var/lib/containerd',
];

/**
 * Directories that the image's build makes in the repository's directory. The mounted repository must not hide them.
 */
const builtDirectories = ['node_modules', 'dist', '.cache'];

/**
 * A compose file for one container with buildkitd, containerd and lazypull, built from script/buildkit/Dockerfile.
 *
 * @param repository directory of the checkout on the host
 * @param name of the container; the service has the same name with "_" for "-"
 */
export function composeFile(repository: string, name: string): string {
  if (!repository.startsWith('/')) {
    throw new LazypullError('InvalidArgument', `Cannot use the directory "${repository}": it must be an absolute path`);
  }
  if (!namePattern.test(name)) {
    throw new LazypullError(
      'InvalidArgument',
      `Cannot use the service name "${name}": it must be letters, digits, "_", "." and "-", and begin with a letter or digit`,
    );
  }
  const volumes = [
    ...builtDirectories.map((directory) => [volumeName(directory), `${workDirectory}/${directory}`] as const),
    ...stateDirectories.map((directory) => [volumeName(directory), directory] as const),
  ];
  return `version: "3.7"
services:
  ${name.replaceAll('-', '_')}:
    container_name: ${quote(name)}
    build:
      context: ${quote(repository)}
      dockerfile: script/buildkit/Dockerfile
      args:
        - HTTP_PROXY
        - HTTPS_PROXY
        - http_proxy
        - https_proxy
    privileged: true
    init: true
    working_dir: ${workDirectory}
    environment:
      - NO_PROXY=127.0.0.1,localhost
      - no_proxy=127.0.0.1,localhost
    tmpfs:
      - /run
    volumes:
      - type: bind
        source: ${quote(repository)}
        target: ${workDirectory}
${volumes.map(([volume, target]) => `      - ${volume}:${target}\n`).join('')}volumes:
${volumes.map(([volume]) => `  ${volume}:\n`).join('')}`;
}

function volumeName(directory: string): string {
  return directory.replace(/^[/.]+/, '').replace(/[/_.]/g, '-');
}

/** A YAML string in double quotes. "$" is escaped, because it begins a variable of compose. */
function quote(text: string): string {
  return JSON.stringify(text).replaceAll('$', '$$$$');
}
