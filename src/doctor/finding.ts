import { messageOf } from '../errors.ts';

/** What was found out about one thing of a machine. */
export interface Finding {
  readonly name: string;
  /** `absent`: it is not there, and nothing needs it. */
  readonly state: 'right' | 'wrong' | 'absent';
  /** What was found, for people. */
  readonly text: string;
  /** What mends it; '' where nothing has to be mended. */
  readonly advice: string;
}

/** What comes of trying something: it gives what to say where it works, and rejects where it does not. */
export async function tryOut(name: string, advice: string, work: () => Promise<string>): Promise<Finding> {
  try {
    return { name, state: 'right', text: await work(), advice: '' };
  } catch (error) {
    return { name, state: 'wrong', text: messageOf(error), advice };
  }
}
