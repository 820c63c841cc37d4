/**
 * How long ago a time of the wall clock was, in ms. A time to come is now: the clock was set back since.
 *
 * @param timeMs ms since 1970
 */
export function sinceMs(timeMs: number): number {
  return Math.max(0, Date.now() - timeMs);
}
