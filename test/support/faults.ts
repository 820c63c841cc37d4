import type { Random } from '../fuzz/random.ts';
import type { Fault, Match, TestRegistry } from './registry.ts';

/** How many faults a test has registries make: LAZYPULL_FAULTS, or what takes a few seconds. */
export function faultsToMake(few: number): number {
  return Number(process.env['LAZYPULL_FAULTS'] || few);
}

/** LAZYPULL_SEED, or one of the moment. */
export function faultSeed(): number {
  return Number(process.env['LAZYPULL_SEED'] || Date.now() % 2 ** 31);
}

const refusals = [400, 401, 403, 404, 410, 416, 418, 429, 500, 501, 502, 503, 504];
const nonsense = ['', 'trouble', '{"errors":[{"code":"DENIED"}]}', '<Error><Code>ExpiredToken</Code></Error>'];

const boundary = { 'content-type': 'multipart/byteranges; boundary=x' };
const parts = ['', 'nonsense', '--x--', '--x\r\n\r\n'];

const kinds: ((random: Random) => Fault)[] = [
  (random) => ({ kind: 'status', status: random.pick(refusals), body: random.pick(nonsense) }),
  (random) => ({ kind: 'status', status: random.pick([204, 206]), body: random.pick(nonsense) }),
  () => ({ kind: 'status', status: 429, headers: { 'retry-after': '0' } }),
  (random) => ({ kind: 'status', status: 206, headers: boundary, body: random.pick(parts) }),
  (random) => ({
    kind: 'status',
    status: 401,
    headers: {
      'www-authenticate': random.pick(['Basic', 'Bearer realm="/"', 'x', 'Bearer realm="file:///etc/shadow"']),
    },
  }), // prettier-ignore
  (random) => ({
    kind: 'status',
    status: 307,
    headers: {
      location: random.pick([
        '?again',
        '/',
        '//',
        'file:///etc/shadow',
        'http://169.254.169.254/',
        'https://127.0.0.1:1/',
      ]),
    },
  }), // prettier-ignore
  () => ({ kind: 'ignore-range' }),
  (random) => ({
    kind: 'content-range',
    value: random.pick(['', 'bytes 0-99/*', 'bytes 9-5/10']),
  }), // prettier-ignore
  (random) => ({ kind: 'short', bytes: random.below(20_000), declared: true }),
  () => ({ kind: 'stall', after: -1 }),
  (random) => ({ kind: 'stall', after: random.below(20_000) }),
  () => ({ kind: 'reset', after: -1 }),
  (random) => ({ kind: 'reset', after: random.below(20_000) }),
  (random) => ({ kind: 'drip', bytes: 5_000 + random.below(30_000), everyMs: 5 }),
  (random) => ({ kind: 'delay', ms: random.below(100) }),
];

/** Answers that are well formed and wrong: only the digests of the content show that. */
const lies: ((random: Random) => Fault)[] = [
  (random) => ({ kind: 'content-range', value: random.pick(['bytes 0-1/2', 'bytes */7']) }),
  () => ({ kind: 'corrupt' }),
  (random) => ({ kind: 'content-range', value: random.pick(['bytes 0-1/2', 'bytes */7']) }),
  (random) => ({ kind: 'long', bytes: 1 + random.below(1000) }),
  (random) => ({ kind: 'short', bytes: random.below(20_000) }),
  (random) => ({ kind: 'status', status: 200, body: random.pick(nonsense) }),
  () => ({
    kind: 'status',
    status: 206,
    headers: boundary,
    body: '--x\r\nContent-Range: bytes 5-5/9\r\n\r\nz\r\n--x--',
  }),
];

/**
 * Has the next requests of a registry go wrong at random: most often one, sometimes many, sometimes its tokens or its
 * redirects. `lying` are answers for clients that verify them and have time-outs of many seconds: with wrong bytes, and
 * without silence. Only requests that match go wrong; tokens are everybody's, so then none is revoked.
 */
export function makeFault(
  registry: TestRegistry,
  random: Random,
  style: 'honest' | 'lying' = 'honest',
  match: Match = {},
): void {
  const what = random.below(20);
  if (what === 0 && Object.keys(match).length === 0) return registry.revokeTokens();
  if (what === 1) return registry.expireSignatures();
  const fault = random.pick(style === 'lying' ? [...kinds, ...lies] : kinds)(random);
  if (style === 'lying' && fault.kind === 'stall') return;
  registry.script(match, ...Array<Fault>(what === 2 ? 12 : 1).fill(fault));
}
