import { LazypullError } from '../errors.ts';
import { compileGoRegExp, type GoRegExp } from './go-regexp.ts';
import type { SnapshotInfo } from './snapshot.ts';
import { FilterBudget } from './filter-budget.ts';

/** One condition: a field such as `['labels', 'a.b/c']`, and what its value must be. */
export type Selector =
  | { readonly operator: 'present'; readonly path: readonly string[] }
  | { readonly operator: '==' | '!='; readonly path: readonly string[]; readonly value: string }
  | { readonly operator: '~='; readonly path: readonly string[]; readonly pattern: GoRegExp | undefined };

/** Selectors that must all match. */
export type Filter = readonly Selector[];

/** The filters of one call, and the budget for evaluating them. */
export interface Filters {
  readonly filters: readonly Filter[];
  readonly budget: FilterBudget;
}

const MAX_FILTERS = 1024;
const MAX_FILTERS_LENGTH = 64 * 1024;

/**
 * Parses containerd's filters (containerd pkg/filters): selectors such as `kind==active`, `name~=^sha256:`,
 * `labels."a.b/c"`, joined by commas. A field or a value may be quoted with `"`, and a pattern with `/` or `|` too, all
 * with Go's escapes. The empty filter matches everything. Throws InvalidArgument with the place.
 */
export function parseFilters(filters: readonly string[]): Filters {
  if (filters.length > MAX_FILTERS) {
    throw new LazypullError('InvalidArgument', `Cannot take more than ${MAX_FILTERS} filters`);
  }
  if (filters.reduce((sum, text) => sum + text.length, 0) > MAX_FILTERS_LENGTH) {
    throw new LazypullError('InvalidArgument', `Cannot parse filters of more than ${MAX_FILTERS_LENGTH} characters`);
  }
  const budget = new FilterBudget();
  return { filters: filters.map((text) => (text === '' ? [] : new Parser(text, budget).filter())), budget };
}

/**
 * Whether any of the filters matches. If there are none, everything matches. @throws ResourceExhausted if that takes
 * too long
 */
export function matches({ filters, budget }: Filters, info: SnapshotInfo): boolean {
  if (filters.length === 0) return true;
  return budget.spend(() => filters.some((filter) => filter.every((selector) => selects(selector, info))));
}

/** Whether any filter asks for a label. */
export function askForLabels({ filters }: Filters): boolean {
  return filters.some((filter) => filter.some(({ path }) => path[0] === 'labels'));
}

function selects(selector: Selector, info: SnapshotInfo): boolean {
  const value = fieldOf(info, selector.path);
  switch (selector.operator) {
    case 'present':
      return value !== undefined;
    case '==':
      return value === selector.value;
    case '!=':
      return (value ?? '') !== selector.value;
    case '~=':
      return selector.pattern?.test(value ?? '') ?? false;
  }
}

function fieldOf(info: SnapshotInfo, [field, ...rest]: readonly string[]): string | undefined {
  switch (field) {
    case 'kind':
      return info.kind;
    case 'name':
      return info.name;
    case 'parent':
      return info.parent;
    case 'labels': {
      const key = rest.join('.');
      return Object.hasOwn(info.labels, key) ? info.labels[key] : undefined;
    }
    default:
      return undefined;
  }
}

type Token = { readonly kind: 'field' | 'quoted' | 'value' | 'separator' | 'operator' | 'end'; readonly text: string };

class Parser {
  readonly #text: string;
  readonly #budget: FilterBudget;
  #position = 0;
  #afterOperator = false;

  constructor(text: string, budget: FilterBudget) {
    this.#text = text;
    this.#budget = budget;
    this.#position = text.search(/[\0\ufffd]/);
    if (this.#position >= 0) throw this.#unexpected('no filter may hold this character');
    this.#position = 0;
  }

  filter(): Filter {
    const selectors = [this.#selector()];
    while (this.#position < this.#text.length) {
      if (this.#peek() !== ',') throw this.#unexpected('expected a comma or the end');
      this.#scan();
      selectors.push(this.#selector());
    }
    return selectors;
  }

  #selector(): Selector {
    const path = [this.#field()];
    while (this.#peek() === '.') {
      this.#scan();
      path.push(this.#field());
    }
    if (this.#peek() === ',' || this.#peek() === '') return { operator: 'present', path };
    const operator = this.#scan();
    if (operator.kind !== 'operator') throw this.#unexpected('expected an operator');
    switch (operator.text) {
      case '==':
      case '!=':
        return { operator: operator.text, path, value: this.#value('"') };
      case '~=':
        return { operator: '~=', path, pattern: compileGoRegExp(this.#value('"/|'), this.#budget) };
      default:
        throw this.#unexpected(`expected "==", "!=" or "~=" instead of "${operator.text}"`);
    }
  }

  #field(): string {
    const token = this.#scan();
    if (token.kind === 'field') return token.text;
    if (token.kind === 'quoted') return this.#unquoted(token.text, '"');
    throw this.#unexpected('expected a field');
  }

  #value(quotes: string): string {
    const token = this.#scan();
    if (token.kind === 'value' || token.kind === 'field') return token.text;
    if (token.kind === 'quoted') return this.#unquoted(token.text, quotes);
    throw this.#unexpected('expected a value');
  }

  #peek(): string {
    const code = this.#text.codePointAt(this.#position);
    return code === undefined ? '' : String.fromCodePoint(code);
  }

  #scan(): Token {
    this.#take(/\p{White_Space}*/uy);
    const first = this.#peek();
    if (first === '') return { kind: 'end', text: '' };
    if ('"/|'.includes(first)) return { kind: 'quoted', text: this.#quoted(first) };
    if (',.'.includes(first)) {
      this.#afterOperator = false;
      return { kind: 'separator', text: this.#take(/./uy) };
    }
    if ('=!~'.includes(first)) {
      this.#afterOperator = true;
      return { kind: 'operator', text: this.#take(/[=!~]+/uy) };
    }
    const wasAfterOperator = this.#afterOperator;
    this.#afterOperator = false;
    const text = wasAfterOperator
      ? this.#take(/(?:(?!,)[\p{L}\p{M}\p{N}\p{P}\p{S}])+/uy)
      : this.#take(/[A-Za-z0-9_]+/uy);
    if (text === '') throw this.#unexpected(`unexpected character "${first}"`);
    return { kind: wasAfterOperator ? 'value' : 'field', text };
  }

  #quoted(quote: string): string {
    const start = this.#position;
    this.#position++;
    for (;;) {
      const character = this.#peek();
      if (character === '' || character === '\n') throw this.#unexpected('the quoted text has no end');
      this.#position += character.length;
      if (character === '\\') this.#position += this.#peek().length;
      if (character === quote) return this.#text.slice(start, this.#position);
    }
  }

  #unquoted(text: string, quotes: string): string {
    const quote = text[0] ?? '';
    if (!quotes.includes(quote)) throw this.#unexpected(`cannot quote with ${quote} here`);
    const value = unescape(text.slice(1, -1), quote);
    if (value === undefined) throw this.#unexpected('the quoted text holds an illegal escape');
    return value;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#position;
    const text = pattern.exec(this.#text)?.[0] ?? '';
    this.#position += text.length;
    return text;
  }

  #unexpected(detail: string): LazypullError {
    const shown = this.#text.length > 256 ? `${this.#text.slice(0, 256)}…` : this.#text;
    return new LazypullError(
      'InvalidArgument',
      `Cannot parse the filter "${shown}" at character ${this.#position}: ${detail}`,
    );
  }
}

const letters: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, '\\': 92 };
const MAX_RUNE = 0x10ffff;

/**
 * The text inside Go quotes; undefined if it holds an escape that Go does not know. `\xff` and `\377` are bytes of
 * UTF-8.
 */
function unescape(text: string, quote: string): string | undefined {
  const parts: Buffer[] = [];
  let legal = true;
  const escapes = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([^]))|[^\\]+|\\$/gu;
  for (const [all, hex, short, long, octal, letter] of text.matchAll(escapes)) {
    const byte = hex ? Number.parseInt(hex, 16) : octal ? Number.parseInt(octal, 8) : undefined;
    const rune = (short ?? long) ? Number.parseInt(short ?? long ?? '', 16) : undefined;
    if (byte !== undefined) {
      legal &&= byte <= 0xff;
      parts.push(Buffer.from([byte]));
    } else if (rune !== undefined) {
      legal &&= rune <= MAX_RUNE;
      parts.push(Buffer.from(String.fromCodePoint(Math.min(rune, MAX_RUNE))));
    } else if (letter !== undefined) {
      const code = letter === quote ? letter.codePointAt(0) : letters[letter];
      legal &&= code !== undefined;
      parts.push(Buffer.from([code ?? 0]));
    } else {
      legal &&= all !== '\\';
      parts.push(Buffer.from(all));
    }
  }
  return legal ? Buffer.concat(parts).toString() : undefined;
}
