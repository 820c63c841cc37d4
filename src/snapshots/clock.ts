let origin = performance.timeOrigin;

/**
 * The wall clock in whole microseconds since 1970. `Date.now()` has only milliseconds, which would date a snapshot
 * before the call that made it. So the monotonic clock counts on from it. If it leaves that millisecond, because the
 * wall clock was set or slewed, it is set right.
 */
export function wallClockMicros(): number {
  const coarse = Date.now();
  const fine = origin + performance.now();
  const right = Math.min(Math.max(fine, coarse), coarse + 0.999);
  origin += right - fine;
  return Math.floor(right * 1000);
}
