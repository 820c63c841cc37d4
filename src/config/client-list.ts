import { basename, resolve } from 'node:path';
import { LazypullError } from '../errors.ts';

/** A client of the daemon: a containerd or a buildkitd, with a socket and a store of snapshots of its own. */
export interface ClientConfig {
  readonly name: string;
  /** Path of its unix socket, without a scheme. */
  readonly address: string;
}

/** The client of the first address, whose snapshots are kept where a daemon of one client keeps them. */
export const firstClientName = 'default';

/** No machine has more clients than that. */
const maxClients = 16;

/** The size of `sun_path` in unix(7), without its end. */
const maxSocketPathBytes = 107;

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;

/**
 * The clients of a daemon: one for each address of the command line, and one for each table `[[client]]` of the file.
 * The first address is the only one that must be there. Further addresses are named after their files, without ".sock".
 *
 * @throws InvalidArgument if a name or an address cannot be used, or if two clients have the same one
 */
export function clientsOf(addresses: readonly string[], tables: readonly ClientConfig[]): ClientConfig[] {
  const [first = '', ...others] = addresses.map(socketPath);
  const clients = [
    { name: firstClientName, address: first },
    ...others.map((address) => ({ name: nameOfAddress(address), address })),
    ...tables.map(({ name, address }) => ({ name, address: socketPath(address) })),
  ];
  if (clients.length > maxClients) {
    throw new LazypullError('InvalidArgument', `Cannot serve ${clients.length} clients: the most are ${maxClients}`);
  }
  for (const [i, { name, address }] of clients.entries()) {
    const before = clients.slice(0, i);
    checkAddress(address);
    if (i > 0) checkName(name, address);
    if (before.some((other) => other.name === name)) {
      throw new LazypullError('InvalidArgument', `Cannot serve two clients of the name "${name}"`, {
        hint: 'give each a name of its own, with [[client]] in the config file',
      });
    }
    const twin = before.find((other) => other.address === address);
    if (twin !== undefined) {
      throw new LazypullError(
        'InvalidArgument',
        `Cannot serve the clients "${twin.name}" and "${name}" at one socket, "${address}": each would remove the snapshots of the other`,
        { hint: 'give each a socket of its own' },
      );
    }
  }
  return clients;
}

/** The name of a client that has only an address: the name of the file, without ".sock". */
export function nameOfAddress(address: string): string {
  return basename(address).replace(/\.sock$/, '');
}

/** The absolute path of an address, with or without the scheme unix://. */
export function socketPath(address: string): string {
  return resolve(address.startsWith('unix://') ? address.slice('unix://'.length) : address);
}

function checkName(name: string, address: string): void {
  if (namePattern.test(name) && name !== firstClientName) return;
  const why =
    name === firstClientName
      ? 'that is the client of the first address'
      : 'it must be letters, digits, "-", "_" and ".", 63 at most, and start with a letter or a digit';
  throw new LazypullError(
    'InvalidArgument',
    `Cannot use the client name "${name.slice(0, 100)}" for "${address.slice(0, 300)}": ${why}`,
    { hint: 'set another one with [[client]] in the config file' },
  );
}

function checkAddress(address: string): void {
  if (Buffer.byteLength(address) <= maxSocketPathBytes) return;
  throw new LazypullError(
    'InvalidArgument',
    `Cannot listen at "${address.slice(0, 300)}": the path of a socket has at most ${maxSocketPathBytes} bytes`,
    { hint: 'choose a shorter one' },
  );
}
