import { BlockList, isIP } from 'node:net';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Cloud metadata services live here: no registry has a reason to send anyone there. */
const linkLocal = new BlockList();
linkLocal.addSubnet('169.254.0.0', 16, 'ipv4');
linkLocal.addSubnet('fe80::', 10, 'ipv6');

/** Addresses that also lead to this machine when they are connected to. */
const unspecified = new BlockList();
unspecified.addSubnet('0.0.0.0', 8, 'ipv4');
unspecified.addAddress('::', 'ipv6');

/** Whether a host name or address (IPv6 with or without brackets) is this machine: `localhost`, 127.0.0.0/8 or ::1. */
export function isLoopback(hostname: string): boolean {
  return hostname.toLowerCase() === 'localhost' || contains(loopback, hostname);
}

/** Whether who connects to a host name or address gets to this machine: a loopback address, `localhost`, or one that stands for any. */
export function isThisMachine(hostname: string): boolean {
  return isLoopback(hostname) || hostname.toLowerCase().endsWith('.localhost') || contains(unspecified, hostname);
}

/** Whether an address (IPv6 with or without brackets) is link-local: 169.254.0.0/16 or fe80::/10, also as an IPv4-mapped IPv6 address. */
export function isLinkLocal(hostname: string): boolean {
  return contains(linkLocal, hostname);
}

/** Whether an address is in one of the networks that NO_PROXY writes as `10.0.0.0/8`. */
export function isInNetworks(hostname: string, networks: readonly string[]): boolean {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits = ''] = network.split('/');
    const version = isIP(address);
    const prefix = /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
    if (version === 0 || prefix < 0 || prefix > (version === 4 ? 32 : 128)) continue;
    list.addSubnet(address, prefix, version === 4 ? 'ipv4' : 'ipv6');
  }
  return contains(list, hostname);
}

function contains(list: BlockList, hostname: string): boolean {
  const address = hostname.replace(/^\[(.*)\]$/, '$1').replace(/%.*$/, '');
  const version = isIP(address);
  return version !== 0 && list.check(address, version === 4 ? 'ipv4' : 'ipv6');
}
