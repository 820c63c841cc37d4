import { LazypullError } from '../errors.ts';
import type { StepBudget } from './step-budget.ts';
import type { CharacterSet } from './character-set.ts';
import { type Assertion, type Node, parseGoRegExp } from './go-regexp-syntax.ts';

/** Of a compiled expression, and of what is looked at to compile it: counted repetitions are written out. */
const maxInstructions = 10_000;

/** Says whether an expression matches anywhere in a text. */
export interface GoRegExp {
  /** @throws ResourceExhausted when the budget is used up */
  test(text: string): boolean;
}

/**
 * Compiles a regular expression in Go's syntax. Like Go's, and unlike JavaScript's, it takes time in proportion to the
 * text: all ways to match are followed at once, a character at a time.
 *
 * @param budget what `test` may take
 * @returns undefined for what Go does not compile; containerd takes such a pattern as one that matches nothing
 * @throws InvalidArgument for an expression that is too large
 */
export function compileGoRegExp(pattern: string, budget: StepBudget): GoRegExp | undefined {
  const node = parseGoRegExp(pattern);
  if (node === undefined) return undefined;
  const program = new Compiler().compile(node);
  return { test: (text) => runs(program, text, budget) };
}

type Instruction =
  | { readonly kind: 'character'; readonly set: CharacterSet }
  | { readonly kind: 'assertion'; readonly assertion: Assertion }
  /** Goes on at each of the targets. */
  | { readonly kind: 'jump'; readonly targets: number[] }
  | { readonly kind: 'match' };

class Compiler {
  readonly #program: Instruction[] = [];
  #looked = 0;

  compile(node: Node): Instruction[] {
    this.#emit(node);
    this.#program.push({ kind: 'match' });
    return this.#program;
  }

  #emit(node: Node): void {
    if (++this.#looked > maxInstructions || this.#program.length > maxInstructions) {
      throw new LazypullError('InvalidArgument', 'The regular expression is too large; count fewer repetitions');
    }
    switch (node.kind) {
      case 'character':
      case 'assertion':
        this.#program.push(node);
        break;
      case 'sequence':
        for (const each of node.nodes) this.#emit(each);
        break;
      case 'choice':
        this.#emitChoice(node.nodes);
        break;
      case 'repeat':
        this.#emitRepeat(node.node, node.min, node.max);
        break;
    }
  }

  #emitChoice(nodes: readonly Node[]): void {
    const starts = this.#jump();
    const ends: number[][] = [];
    for (const node of nodes) {
      starts.push(this.#program.length);
      this.#emit(node);
      ends.push(this.#jump());
    }
    for (const end of ends) end.push(this.#program.length);
  }

  #emitRepeat(node: Node, min: number, max: number): void {
    for (let i = 0; i < min; i++) this.#emit(node);
    const loop = this.#program.length;
    const exits: number[][] = [];
    for (let i = min; i < (max === Infinity ? min + 1 : max); i++) {
      const start = this.#jump();
      start.push(this.#program.length);
      exits.push(start);
      this.#emit(node);
    }
    if (max === Infinity) this.#jump().push(loop);
    for (const exit of exits) exit.push(this.#program.length);
  }

  /** Adds a jump whose targets are still to come. */
  #jump(): number[] {
    const targets: number[] = [];
    this.#program.push({ kind: 'jump', targets });
    return targets;
  }
}

function runs(program: readonly Instruction[], text: string, budget: StepBudget): boolean {
  const seen = new Float64Array(program.length).fill(-1);
  let waiting: number[] = [];
  let before = none;
  for (let at = 0; ; ) {
    const code = text.codePointAt(at) ?? none;
    const pending = [...waiting, 0];
    waiting = [];
    for (let address = pending.pop(); address !== undefined; address = pending.pop()) {
      budget.take(1);
      if (seen[address] === at) continue;
      seen[address] = at;
      const instruction = program[address]!;
      if (instruction.kind === 'match') return true;
      if (instruction.kind === 'jump') pending.push(...instruction.targets);
      else if (instruction.kind === 'character') {
        if (code !== none && instruction.set(code)) waiting.push(address + 1);
      } else if (holds(instruction.assertion, before, code)) pending.push(address + 1);
    }
    if (code === none) return false;
    before = code;
    at += code > 0xffff ? 2 : 1;
  }
}

/** Stands for the character before the start and after the end. */
const none = -1;
const newline = 0x0a;

function holds(assertion: Assertion, before: number, after: number): boolean {
  switch (assertion) {
    case 'text start':
      return before === none;
    case 'text end':
      return after === none;
    case 'line start':
      return before === none || before === newline;
    case 'line end':
      return after === none || after === newline;
    case 'word boundary':
      return isWord(before) !== isWord(after);
    case 'no word boundary':
      return isWord(before) === isWord(after);
  }
}

function isWord(code: number): boolean {
  return code >= 0 && code < 128 && /\w/.test(String.fromCharCode(code));
}
