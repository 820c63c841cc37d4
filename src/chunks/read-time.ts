/** The codes count in steps: so many double the time, which makes each 7 % longer than the one before. */
const stepsPerOctave = 10;

/** The finest difference that codes tell. */
const unitMs = 50;

const maxCode = 255;

/**
 * How long after a moment something was read, in milliseconds, as a byte from 1 on. 0 is for what was never read. The
 * scale ends at 25 days.
 */
export function readTimeCode(ms: number): number {
  return Math.min(maxCode, 1 + Math.floor(stepsPerOctave * Math.log2(1 + Math.max(0, ms) / unitMs)));
}

/** The milliseconds that a code from 1 on stands for. */
export function readTimeMs(code: number): number {
  return Math.ceil(unitMs * (2 ** ((code - 1) / stepsPerOctave) - 1));
}
