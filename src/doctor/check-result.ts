import { hintOf, messageOf } from '../errors.ts';

/** What was found out about one thing of a machine. */
export interface CheckResult {
  readonly name: string;
  /** `warning`: a daemon runs with it, but not at its best. `absent`: it is not there, and nothing needs it. */
  readonly state: 'right' | 'warning' | 'wrong' | 'absent';
  /** What was found, for people; it may have several lines. */
  readonly text: string;
  /** What mends it; '' if nothing has to be mended. */
  readonly advice: string;
}

/**
 * What comes of trying something: it gives what to say if it works, and rejects if it does not. The hint of an error
 * wins over `advice`.
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
