/** Says whether a code point is in it. */
export type CharacterSet = (code: number) => boolean;

/** Code points from the first to the last. */
export type Range = readonly [first: number, last: number];

export const maxCodePoint = 0x10ffff;

/** The set of what is in any of the ranges. Takes time in proportion to the logarithm of their number. */
export function rangeSet(ranges: readonly Range[]): CharacterSet {
  const merged = mergeRanges(ranges);
  return (code) => isIn(merged, code);
}

/** Ranges written as pairs of characters. */
const rangesIn = (pairs: string): Range[] =>
  (pairs.match(/[^]{2}/g) ?? []).map((pair) => [pair.charCodeAt(0), pair.charCodeAt(1)]);

export const perlClasses: Readonly<Record<string, Range[]>> = {
  d: rangesIn('09'),
  s: rangesIn('\t\n\f\r  '),
  w: rangesIn('09AZ__az'),
};

const posixClasses: Readonly<Record<string, Range[]>> = {
  alnum: rangesIn('09AZaz'),
  alpha: rangesIn('AZaz'),
  ascii: rangesIn('\0\x7f'),
  blank: rangesIn('\t\t  '),
  cntrl: rangesIn('\0\x1f\x7f\x7f'),
  digit: rangesIn('09'),
  graph: rangesIn('!~'),
  lower: rangesIn('az'),
  print: rangesIn(' ~'),
  punct: rangesIn('!/:@[`{~'),
  space: rangesIn('\t\r  '),
  upper: rangesIn('AZ'),
  word: rangesIn('09AZ__az'),
  xdigit: rangesIn('09AFaf'),
};

/** The ranges of `[:name:]`. @throws SyntaxError if there is no such class */
export function posixRanges(name: string, negated: boolean): Range[] {
  if (!Object.hasOwn(posixClasses, name)) throw new SyntaxError('unknown class');
  const ranges = posixClasses[name]!;
  return negated ? complement(ranges) : ranges;
}

/** All characters but those of ascending ranges. */
export function complement(ranges: readonly Range[]): Range[] {
  const starts = [0, ...ranges.map(([, last]) => last + 1)];
  const ends = [...ranges.map(([first]) => first - 1), maxCodePoint];
  return starts.map((start, i): Range => [start, ends[i]!]).filter(([first, last]) => first <= last);
}

/** The same characters as ascending ranges apart from each other. */
function mergeRanges(ranges: readonly Range[]): readonly Range[] {
  if (ranges.length < 2) return ranges;
  const merged: Range[] = [];
  for (const [first, last] of ranges.toSorted(([a], [b]) => a - b)) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before[1] + 1)
      merged[merged.length - 1] = [before[0], Math.max(before[1], last)];
    else merged.push([first, last]);
  }
  return merged;
}

/** Whether a code point is in one of the ranges, which are ascending and apart from each other. */
function isIn(ranges: readonly Range[], code: number): boolean {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const [first, last] = ranges[middle]!;
    if (code >= first && code <= last) return true;
    if (code < first) high = middle;
    else low = middle + 1;
  }
  return false;
}

/** A general category or a script as JavaScript writes it. @throws SyntaxError if there is none of that name */
export function propertyEscape(name: string, negated: boolean): string {
  const letter = negated ? 'P' : 'p';
  if (name === 'Any') return `\\${letter}{Any}`;
  for (const property of ['General_Category', 'Script']) {
    const escape = `\\${letter}{${property}=${name}}`;
    if (compiles(escape)) return escape;
  }
  throw new SyntaxError('unknown property');
}

function compiles(source: string): boolean {
  try {
    return new RegExp(source, 'u').source !== '';
  } catch {
    return false;
  }
}
