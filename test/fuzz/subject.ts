import type fc from 'fast-check';
import type { Random } from './random.ts';

/** Something that takes input from outside, and what must hold whatever that is. */
export interface Subject {
  readonly name: string;
  /** Its share of all cases, relative to the others. */
  readonly weight: number;
  /** Inputs that are made of what the format is made of. They are tried as they are, and mutated. */
  readonly inputs: fc.Arbitrary<Buffer>;
  /** What a mutation may put into an input. */
  readonly tokens?: readonly string[];
  /**
   * Takes one input. Returns normally or throws a LazypullError; anything else, a case of more than a second and much
   * memory are failures.
   *
   * @param random for choices that are not in the input; the same for the same case
   */
  run(input: Buffer, random: Random): void | Promise<void>;
  /** Releases what the subject holds at the end. */
  close?(): Promise<void> | void;
}
