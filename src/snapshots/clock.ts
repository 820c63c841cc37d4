let origin = performance.timeOrigin;

/**
 * The wall clock in whole microseconds since 1970. `Date.now()` has milliseconds only, which would put a snapshot before the call that made it; the
 * monotonic clock counts on from it, and is set right whenever the two differ (the wall clock was set, or slewed).
 */
export function wallClockMicros(): number {
  const coarse = Date.now();
  const fine = origin + performance.now();
  if (fine < coarse) origin += coarse - fine;
  else if (fine >= coarse + 1) origin -= fine - coarse - 0.999;
  return Math.floor((origin + performance.now()) * 1000);
}
