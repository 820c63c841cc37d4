import { BlockList, isIP } from 'node:net';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** The unspecified addresses reach this machine too. */
const thisMachine = new BlockList();
thisMachine.addSubnet('127.0.0.0', 8, 'ipv4');
thisMachine.addSubnet('0.0.0.0', 8, 'ipv4');
thisMachine.addAddress('::1', 'ipv6');
thisMachine.addAddress('::', 'ipv6');

/**
 * Cloud metadata services live here, and at a few addresses of their own. No registry has a reason to redirect there.
 */
const linkLocal = new BlockList();
linkLocal.addSubnet('169.254.0.0', 16, 'ipv4');
linkLocal.addSubnet('fe80::', 10, 'ipv6');
linkLocal.addAddress('fd00:ec2::254', 'ipv6');
linkLocal.addAddress('100.100.100.200', 'ipv4');
linkLocal.addAddress('168.63.129.16', 'ipv4');

/** The zone of an address: services in the two special zones trust every client that can reach them. */
export type Zone = 'anywhere' | 'this machine' | 'link-local';

/**
 * The zone of an address (IPv6 with or without brackets, or IPv4-mapped), or of `localhost` or a name below it. Other
 * names are anywhere until they are looked up.
 */
export function zoneOf(hostname: string): Zone {
  if (contains(linkLocal, hostname)) return 'link-local';
  const isHere = contains(thisMachine, hostname) || /^(?:.*\.)?localhost$/i.test(hostname);
  return isHere ? 'this machine' : 'anywhere';
}

/** Whether a host name or address (IPv6 with or without brackets) is this machine: `localhost`, 127.0.0.0/8 or ::1. */
export function isLoopback(hostname: string): boolean {
  return hostname.toLowerCase() === 'localhost' || contains(loopback, hostname);
}

/** Whether an address is in a network written as `10.0.0.0/8`; false if that is not a network. */
export function isInNetwork(hostname: string, network: string): boolean {
  const [address = '', bits = ''] = network.split('/');
  const version = isIP(address);
  const prefix = /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
  if (version === 0 || prefix < 0 || prefix > (version === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(address, prefix, version === 4 ? 'ipv4' : 'ipv6');
  return contains(list, hostname);
}

function contains(list: BlockList, hostname: string): boolean {
  const address = hostname.replace(/^\[(.*)\]$/, '$1').replace(/%.*$/, '');
  const version = isIP(address);
  return version !== 0 && list.check(address, version === 4 ? 'ipv4' : 'ipv6');
}
