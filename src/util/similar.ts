/** Longer words are not compared. */
const maxWordLength = 64;

/** The candidate that `word` may have meant: the one with the fewest typing errors, at most one in three letters. */
export function similarTo(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > maxWordLength) return undefined;
  let best: string | undefined;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const errors = plain(word) === plain(candidate) ? 0 : typingErrors(word.toLowerCase(), candidate.toLowerCase());
    if (errors < least) [best, least] = [candidate, errors];
  }
  return best;
}

/** A name of a key without the characters that other files use in it. */
function plain(word: string): string {
  return word.toLowerCase().replace(/[-_]/g, '');
}

/** How many letters must be added, left out, changed or swapped with the next one (optimal string alignment). */
export function typingErrors(a: string, b: string): number {
  let [before, last] = [[] as number[], Array.from({ length: b.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(last[j]! + 1, row[j - 1]! + 1, change);
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwapped) row[j] = Math.min(row[j]!, before[j - 2]! + 1);
    }
    [before, last] = [last, row];
  }
  return last[b.length]!;
}
