/** How a link between a machine and a registry behaves. */
export interface LinkShape {
  /** As the options and the results name it, such as "20ms/1gbit". */
  readonly name: string;
  readonly roundTripMs: number;
  /** In each direction, for all connections together; Infinity if nothing limits it. */
  readonly megabitsPerSecond: number;
}

const maxRoundTripMs = 10_000;

/** The links that are measured by default, the nearest first. */
export const defaultLinks: readonly LinkShape[] = [
  '0ms',
  '20ms/1gbit',
  '80ms/1gbit',
  '20ms/100mbit',
  '80ms/100mbit',
].map(parseLink);

/** Reads "20ms/100mbit", "80ms/1gbit", or "0ms" for a link whose bandwidth is that of loopback. */
export function parseLink(name: string): LinkShape {
  const [, delay = '', rate, unit] = /^(\d+)ms(?:\/(\d+)(mbit|gbit))?$/.exec(name) ?? [];
  const roundTripMs = Number(delay);
  const megabitsPerSecond = rate === undefined ? Infinity : Number(rate) * (unit === 'gbit' ? 1000 : 1);
  const bounded = roundTripMs <= maxRoundTripMs && megabitsPerSecond > 0;
  if (delay === '' || !bounded)
    throw new Error(`Cannot read the link "${name}": write it as "20ms/100mbit", "80ms/1gbit" or "0ms"`);
  return { name, roundTripMs, megabitsPerSecond };
}

/** The link in words: "20 ms, 100 Mbit/s". */
export function describeLink({ roundTripMs, megabitsPerSecond }: Omit<LinkShape, 'name'>): string {
  if (!Number.isFinite(megabitsPerSecond)) return roundTripMs === 0 ? 'loopback' : `${roundTripMs} ms`;
  const rate = megabitsPerSecond % 1000 === 0 ? `${megabitsPerSecond / 1000} Gbit/s` : `${megabitsPerSecond} Mbit/s`;
  return `${roundTripMs} ms, ${rate}`;
}
