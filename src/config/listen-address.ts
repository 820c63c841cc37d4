import { LazypullError } from '../errors.ts';

/** Where to listen for TCP connections. */
export interface ListenAddress {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
}

const maxPort = 65_535;

/**
 * Reads `HOST:PORT` as Go programs take it: an IPv6 address is in brackets, and no host means every address of the
 * machine.
 *
 * @param what names the setting in messages
 * @throws InvalidArgument
 */
export function parseListenAddress(text: string, what: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]*)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > maxPort) {
    throw new LazypullError(
      'InvalidArgument',
      `Cannot use ${what} "${text.slice(0, 300)}": it must be like "127.0.0.1:8234"`,
    );
  }
  return { host: match[1] ?? (match[2] || '::'), port };
}
