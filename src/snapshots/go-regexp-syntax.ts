import {
  type CharacterSet,
  complement,
  maxCodePoint,
  perlClasses,
  posixRanges,
  propertyEscape,
  type Range,
  rangeSet,
} from './character-set.ts';

/**
 * A part of a regular expression. Which of several matches is found does not matter here, so groups, names and laziness
 * are gone.
 */
export type Node =
  | { readonly kind: 'character'; readonly set: CharacterSet }
  | { readonly kind: 'assertion'; readonly assertion: Assertion }
  | { readonly kind: 'sequence' | 'choice'; readonly nodes: readonly Node[] }
  | { readonly kind: 'repeat'; readonly node: Node; readonly min: number; readonly max: number };

export type Assertion = 'text start' | 'text end' | 'line start' | 'line end' | 'word boundary' | 'no word boundary';

/** Go's own bounds: of a counted repetition, and of groups in groups. */
const maxRepeat = 1000;
const maxDepth = 1000;

/**
 * Reads a regular expression in Go's syntax (https://pkg.go.dev/regexp/syntax). Undefined for what Go does not compile.
 */
export function parseGoRegExp(pattern: string): Node | undefined {
  try {
    return new Parser(pattern).parse();
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

interface Flags {
  readonly fold: boolean;
  readonly lines: boolean;
  readonly dotAll: boolean;
}

class Parser {
  readonly #pattern: string;
  /** By their sources: compiled expressions are large. */
  readonly #sets = new Map<string, RegExp>();
  #at = 0;
  #depth = 0;
  #flags: Flags = { fold: false, lines: false, dotAll: false };

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  parse(): Node {
    const node = this.#choice();
    if (this.#at < this.#pattern.length) throw new SyntaxError('unexpected )');
    return node;
  }

  #choice(): Node {
    if (++this.#depth > maxDepth) throw new SyntaxError('nested too deeply');
    const nodes = [this.#sequence()];
    while (this.#take('|')) nodes.push(this.#sequence());
    this.#depth--;
    return nodes.length === 1 ? nodes[0]! : { kind: 'choice', nodes };
  }

  #sequence(): Node {
    const nodes: Node[] = [];
    let repeated = false;
    while (this.#at < this.#pattern.length && !'|)'.includes(this.#pattern[this.#at]!)) {
      const repeat = this.#repeat();
      if (repeat === undefined) {
        this.#item(nodes);
      } else {
        const node = nodes.pop();
        if (node === undefined || repeated) throw new SyntaxError('nothing to repeat');
        nodes.push({ kind: 'repeat', node, ...repeat });
      }
      repeated = repeat !== undefined;
    }
    return { kind: 'sequence', nodes };
  }

  /** Reads a repetition operator when it comes next. */
  #repeat(): { min: number; max: number } | undefined {
    const match = this.#match(/([*+?])\??|\{(\d+)(?:(,)(\d*))?\}\??/y);
    if (match === undefined) return undefined;
    const [, symbol, least, comma, most] = match;
    if (symbol !== undefined) return { min: symbol === '+' ? 1 : 0, max: symbol === '?' ? 1 : Infinity };
    const min = Number(least);
    const max = most ? Number(most) : comma === undefined ? min : Infinity;
    if (min > maxRepeat || (max !== Infinity && max > maxRepeat) || min > max) throw new SyntaxError('repeat count');
    return { min, max };
  }

  /** Reads what a repetition operator may follow, or flags, or a quotation, and adds what it stands for. */
  #item(nodes: Node[]): void {
    const quotation = this.#match(/\\Q([^]*?)(?:\\E|$)/y);
    if (quotation !== undefined) {
      for (const character of quotation[1]!) nodes.push(this.#character(codeOf(character)));
      return;
    }
    const assertion = this.#match(/\^|\$|\\[AzbB]/y)?.[0];
    if (assertion !== undefined) {
      nodes.push({ kind: 'assertion', assertion: this.#assertion(assertion) });
    } else if (this.#take('(')) {
      const group = this.#group();
      if (group !== undefined) nodes.push(group);
    } else if (this.#take('.')) {
      nodes.push(this.#set(this.#flags.dotAll ? [] : [[0x0a, 0x0a]], [], true));
    } else if (this.#take('[')) {
      nodes.push(this.#class());
    } else {
      const properties: string[] = [];
      const ranges = this.#shorthand(properties);
      nodes.push(ranges === undefined ? this.#character(this.#codePoint()) : this.#set(ranges, properties));
    }
  }

  #assertion(text: string): Assertion {
    if (text === '^') return this.#flags.lines ? 'line start' : 'text start';
    if (text === '$') return this.#flags.lines ? 'line end' : 'text end';
    if (text === '\\A') return 'text start';
    if (text === '\\z') return 'text end';
    return text === '\\b' ? 'word boundary' : 'no word boundary';
  }

  /**
   * Reads a group up to its end. Undefined for one that only sets flags, which hold to the end of the group around it.
   */
  #group(): Node | undefined {
    const outer = this.#flags;
    if (this.#take('?')) {
      if (this.#match(/P?<\w+>/y) === undefined) {
        this.#readFlags();
        if (this.#take(')')) return undefined;
        if (!this.#take(':')) throw new SyntaxError('unknown group');
      }
    }
    const node = this.#choice();
    if (!this.#take(')')) throw new SyntaxError('missing )');
    this.#flags = outer;
    return node;
  }

  #readFlags(): void {
    const [, on = '', off] = this.#match(/([imsU]*)(?:-([imsU]+))?/y) ?? [];
    const flag = (letter: string, now: boolean) => (now || on.includes(letter)) && !(off ?? '').includes(letter);
    const { fold, lines, dotAll } = this.#flags;
    this.#flags = { fold: flag('i', fold), lines: flag('m', lines), dotAll: flag('s', dotAll) };
  }

  /** Reads a class after its bracket. */
  #class(): Node {
    const negated = this.#take('^');
    const ranges: Range[] = [];
    const properties: string[] = [];
    for (let first = true; first || !this.#take(']'); first = false) {
      if (this.#at >= this.#pattern.length) throw new SyntaxError('missing ]');
      const posix = this.#match(/\[:(\^?)([^]*?):\]/y);
      const shorthand = posix === undefined ? this.#shorthand(properties) : posixRanges(posix[2]!, posix[1] !== '');
      if (shorthand !== undefined) {
        ranges.push(...shorthand);
        continue;
      }
      const from = this.#codePoint();
      const to = this.#match(/-(?!\])/y) === undefined ? from : this.#codePoint();
      if (to < from) throw new SyntaxError('range out of order');
      ranges.push([from, to]);
    }
    return this.#set(ranges, properties, negated);
  }

  /**
   * Reads `\d`, `\pL` and their like when they come next: gives their ranges, or adds to `properties` and gives none.
   */
  #shorthand(properties: string[]): Range[] | undefined {
    const perl = this.#match(/\\([dswDSW])/y)?.[1];
    if (perl !== undefined) {
      const ranges = perlClasses[perl.toLowerCase()]!;
      return perl === perl.toLowerCase() ? ranges : complement(ranges);
    }
    const unicode = this.#match(/\\([pP])(?:([A-Z])|\{(\^?)(\w+)\})/y);
    if (unicode === undefined) return undefined;
    const [, letter, short, caret, long] = unicode;
    properties.push(propertyEscape(short ?? long!, (letter === 'P') !== (caret === '^')));
    return [];
  }

  /** Reads one character, which may be escaped. */
  #codePoint(): number {
    const [all, octal, short, long, letter, plain] =
      this.#match(/\\(?:(0[0-7]{0,2}|[1-7][0-7]{1,2})|x(?:([0-9a-fA-F]{2})|\{([0-9a-fA-F]+)\})|([^]))|([^\\])/uy) ?? [];
    if (all === undefined) throw new SyntaxError('nothing follows a backslash');
    if (plain !== undefined) return codeOf(plain);
    if (octal !== undefined) return Number.parseInt(octal, 8);
    const hex = short ?? long;
    if (hex !== undefined) {
      const code = Number.parseInt(hex, 16);
      if (code > maxCodePoint) throw new SyntaxError('no such character');
      return code;
    }
    const code = controls[letter!];
    if (code !== undefined) return code;
    if (/^[\0-\x7f]$/.test(letter!) && !/^\w$/.test(letter!)) return codeOf(letter!);
    throw new SyntaxError('unknown escape');
  }

  #character(code: number): Node {
    return this.#set([[code, code]], []);
  }

  #set(ranges: readonly Range[], properties: readonly string[], negated = false): Node {
    if (!this.#flags.fold && properties.length === 0) {
      const set = rangeSet(ranges);
      return { kind: 'character', set: negated ? (code) => !set(code) : set };
    }
    const parts = ranges.map(([first, last]) => `\\u{${first.toString(16)}}-\\u{${last.toString(16)}}`);
    const source = `^[${negated ? '^' : ''}${[...parts, ...properties].join('')}]$`;
    const flags = this.#flags.fold ? 'iu' : 'u';
    let expression = this.#sets.get(flags + source);
    if (expression === undefined) this.#sets.set(flags + source, (expression = new RegExp(source, flags)));
    const found = expression;
    return { kind: 'character', set: (code) => found.test(String.fromCodePoint(code)) };
  }

  #take(text: string): boolean {
    if (!this.#pattern.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#pattern);
    if (match === null) return undefined;
    this.#at = pattern.lastIndex;
    return match;
  }
}

const controls: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

function codeOf(character: string): number {
  return character.codePointAt(0)!;
}
