import { RE2JS } from 're2js';
import { LazypullError } from '../errors.ts';
import type { FilterBudget } from './filter-budget.ts';

/** Maximum length of an expression, and of one with its counted repetitions written out. */
const maxPatternLength = 4096;
const maxWrittenOut = 65_536;

/**
 * Go's bound for counted repetitions, with nested ones multiplied. A larger count is no repetition, or compiles
 * nowhere.
 */
const maxRepetitions = 1000;

/** Instructions times characters of a text. Each takes some 60 ns at most. */
const maxWork = 10_000_000;

/** Says whether an expression matches anywhere in a text. */
export interface GoRegExp {
  /** @throws ResourceExhausted if that takes too long */
  test(text: string): boolean;
}

/**
 * Compiles a regular expression in Go's syntax (RE2), which takes time in proportion to the text, unlike JavaScript's.
 *
 * @param budget the budget for this and for `test`
 * @returns undefined if Go does not compile it; containerd treats such a pattern as one that matches nothing
 * @throws InvalidArgument if the expression is too large
 */
export function compileGoRegExp(pattern: string, budget: FilterBudget): GoRegExp | undefined {
  if (pattern.length > maxPatternLength || writtenOut(pattern) > maxWrittenOut) {
    throw new LazypullError('InvalidArgument', 'The regular expression is too large', {
      hint: 'allow fewer repetitions',
    });
  }
  const expression = budget.spend(() => compiled(pattern));
  if (expression === undefined) return undefined;
  const size = expression.programSize();
  return {
    test(text) {
      if (size * text.length > maxWork) throw budget.exhausted();
      return budget.spend(() => expression.test(text));
    },
  };
}

function compiled(pattern: string): RE2JS | undefined {
  try {
    return RE2JS.compile(pattern);
  } catch {
    return undefined;
  }
}

/** The maximum length of a pattern with its counted repetitions written out. */
function writtenOut(pattern: string): number {
  let repetitions = 1;
  for (const [, least = '', most = ''] of pattern.matchAll(/\{(\d+)(?:,(\d*))?\}/g)) {
    const count = Math.max(1, Number(least), Number(most));
    if (count <= maxRepetitions) repetitions = Math.min(repetitions * count, maxRepetitions);
  }
  return pattern.length * repetitions;
}
