import { hintOf, messageOf } from '../errors.ts';

/** The result of one check of a machine. */
export interface CheckResult {
  readonly name: string;
  /** `warning`: a daemon runs with it, but not at its best. `absent`: it is not there, and nothing needs it. */
  readonly state: 'right' | 'warning' | 'wrong' | 'absent';
  /** The finding, for people. It may have several lines. */
  readonly text: string;
  /** What to do about it; '' if there is nothing to do. */
  readonly advice: string;
}

/**
 * Tries something: `work` resolves to what to say if it works, and rejects if it does not. The hint of the error wins
 * over `advice`.
 */
export async function tryOut(name: string, advice: string, work: () => Promise<string>): Promise<CheckResult> {
  try {
    return right(name, await work());
  } catch (error) {
    return wrong(name, messageOf(error), hintOf(error) ?? advice);
  }
}

export function right(name: string, text: string): CheckResult {
  return { name, state: 'right', text, advice: '' };
}

export function warning(name: string, text: string, advice: string): CheckResult {
  return { name, state: 'warning', text, advice };
}

export function wrong(name: string, text: string, advice: string): CheckResult {
  return { name, state: 'wrong', text, advice };
}

export function absent(name: string, text: string, advice: string): CheckResult {
  return { name, state: 'absent', text, advice };
}
