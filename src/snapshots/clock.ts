let origin = performance.timeOrigin;

/**
 * The wall clock in whole microseconds since 1970. `Date.now()` has milliseconds only, which would put a snapshot
 * before the call that made it. So the monotonic clock counts on from it, and is set right whenever it leaves that
 * millisecond, because the wall clock was set or slewed.
 */
export function wallClockMicros(): number {
  const coarse = Date.now();
  const fine = origin + performance.now();
  const right = Math.min(Math.max(fine, coarse), coarse + 0.999);
  origin += right - fine;
  return Math.floor(right * 1000);
}
