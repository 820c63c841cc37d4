/** A point in time: whole seconds since 1970, rounded down, and the nanoseconds from there on. */
export interface Timestamp {
  seconds: number;
  nanoseconds: number;
}

/**
 * Reads an RFC 3339 date and time, such as `2006-01-02T15:04:05.999999999Z`, from ASCII bytes at [start, end). Years
 * have four digits or more, as Go writes years after 9999. Digits of the fraction after the ninth are dropped.
 *
 * @returns whether it is one; if so, `time` is set
 */
export function parseRfc3339(bytes: Uint8Array, start: number, end: number, time: Timestamp): boolean {
  let dash = start;
  while (dash < end && isDigit(bytes[dash]!)) dash++;
  if (dash - start < 4 || dash - start > 8) return false;
  const year = number(bytes, start, dash);
  const month = twoDigits(bytes, dash + 1);
  const day = twoDigits(bytes, dash + 4);
  const hour = twoDigits(bytes, dash + 7);
  const minute = twoDigits(bytes, dash + 10);
  const second = twoDigits(bytes, dash + 13);
  const separated =
    dash + 16 <= end &&
    bytes[dash] === 0x2d &&
    bytes[dash + 3] === 0x2d &&
    (bytes[dash + 6] === 0x54 || bytes[dash + 6] === 0x74) &&
    bytes[dash + 9] === 0x3a &&
    bytes[dash + 12] === 0x3a;
  if (!separated || month < 1 || month > 12 || day < 1 || day > 31) return false;
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return false;

  let at = dash + 15;
  let nanoseconds = 0;
  if (bytes[at] === 0x2e) {
    const first = ++at;
    let unit = 100_000_000;
    for (; at < end && isDigit(bytes[at]!); at++, unit /= 10) if (unit >= 1) nanoseconds += (bytes[at]! - 0x30) * unit;
    if (at === first) return false;
  }
  const offset = zoneSeconds(bytes, at, end);
  if (Number.isNaN(offset)) return false;
  time.seconds = daysSince1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
  time.nanoseconds = nanoseconds;
  return true;
}

/** Seconds east of UTC of `Z` or `±hh:mm` at [at, end); NaN for anything else. */
function zoneSeconds(bytes: Uint8Array, at: number, end: number): number {
  const sign = bytes[at];
  if (end - at === 1 && (sign === 0x5a || sign === 0x7a)) return 0;
  if (end - at !== 6 || (sign !== 0x2b && sign !== 0x2d) || bytes[at + 3] !== 0x3a) return Number.NaN;
  const hours = twoDigits(bytes, at + 1);
  const minutes = twoDigits(bytes, at + 4);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return Number.NaN;
  return (sign === 0x2d ? -1 : 1) * (hours * 3600 + minutes * 60);
}

/**
 * Days from 1970-01-01 in the Gregorian calendar, counted in years that begin in March so that leap days are at their
 * end.
 */
function daysSince1970(year: number, month: number, day: number): number {
  const marchYear = month > 2 ? year : year - 1;
  const marchMonth = month > 2 ? month - 3 : month + 9;
  const leapDays = Math.floor(marchYear / 4) - Math.floor(marchYear / 100) + Math.floor(marchYear / 400);
  return marchYear * 365 + leapDays + Math.floor((marchMonth * 153 + 2) / 5) + day - 1 - daysTo1970;
}

/** Days from March 1st of the year 0 to 1970-01-01. */
const daysTo1970 = 719_468;

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function number(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at++) value = value * 10 + bytes[at]! - 0x30;
  return value;
}

/** A number of two digits, or -1. */
function twoDigits(bytes: Uint8Array, at: number): number {
  const tens = bytes[at];
  const ones = bytes[at + 1];
  if (tens === undefined || ones === undefined || !isDigit(tens) || !isDigit(ones)) return -1;
  return (tens - 0x30) * 10 + ones - 0x30;
}
