/** The middle of the values, or the mean of the two in the middle; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const low = sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN;
  const high = sorted[Math.ceil((sorted.length - 1) / 2)] ?? NaN;
  return (low + high) / 2;
}

/** Seconds with three digits that count. */
export function formatSeconds(seconds: number): string {
  return seconds.toFixed(seconds < 0.1 ? 3 : seconds < 10 ? 2 : 1);
}
