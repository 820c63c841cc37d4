import { z } from 'zod';

/** How much of a wrong text is repeated. */
const maxShownText = 60;

/** The part of zod's issue for a refused value that is used here. */
interface Issue {
  readonly code?: string | undefined;
  readonly input?: unknown;
  readonly inst?: unknown;
  readonly origin?: string;
  readonly minimum?: number | bigint;
  readonly maximum?: number | bigint;
  readonly inclusive?: boolean;
}

/** What to say about a refused value: what is allowed, and what was found. It is the parameter `error` of zod. */
export function problemWith(issue: Issue): string {
  const { code, input, inst, minimum, maximum, inclusive } = issue;
  if (code === 'too_small')
    return mustBe(lengthOr(issue, inclusive ? `at least ${minimum}` : `above ${minimum}`), input);
  if (code === 'too_big') return mustBe(lengthOr(issue, inclusive ? `at most ${maximum}` : `below ${maximum}`), input);
  return inst instanceof z.ZodType ? mustBe(allowedBy(inst), input) : `it must not be ${found(input)}`;
}

function lengthOr({ origin }: Issue, bound: string): string {
  if (origin !== 'string') return bound;
  return bound === 'at least 1' ? 'text that is not empty' : `text of ${bound} characters`;
}

/** @param allowed what it must be, as the object of that sentence */
export function mustBe(allowed: string, input: unknown): string {
  return input === undefined ? 'it is missing' : `it must be ${allowed}, not ${found(input)}`;
}

/** The values that a schema takes: "a whole number from -1 to 86400", `"memory", "db" or ""`. */
function allowedBy(schema: z.ZodType): string {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) {
    return allowedBy(schema.unwrap() as z.ZodType);
  }
  if (schema instanceof z.ZodEnum) return listed(schema.options.map((word) => JSON.stringify(word)));
  if (schema instanceof z.ZodUnion) return listed(schema.options.map((each) => allowedBy(each as z.ZodType)));
  if (schema instanceof z.ZodArray) {
    const isOfTables = schema.element instanceof z.ZodObject;
    return isOfTables
      ? 'a list of tables, each under a header like [[NAME]]'
      : `a list of ${allowedBy(schema.element as z.ZodType)}`;
  }
  if (schema instanceof z.ZodNumber) return numberText(schema);
  if (schema instanceof z.ZodString) return schema.minLength ? 'text that is not empty' : 'text';
  if (schema instanceof z.ZodBoolean) return 'true or false';
  return 'a table';
}

function numberText({ format, minValue, maxValue, def }: z.ZodNumber): string {
  const kind = format === 'safeint' ? 'a whole number' : 'a number';
  const isAbove = def.checks?.some(
    ({ _zod: check }) => check.def.check === 'greater_than' && 'inclusive' in check.def && !check.def.inclusive,
  );
  const from =
    minValue === null || minValue <= Number.MIN_SAFE_INTEGER ? '' : ` ${isAbove ? 'above' : 'from'} ${minValue}`;
  const hasEnd = maxValue !== null && maxValue < Number.MAX_SAFE_INTEGER;
  if (from === '') return hasEnd ? `${kind} up to ${maxValue}` : kind;
  return hasEnd ? `${kind}${from} to ${maxValue}` : `${kind}${from} on`;
}

/** A value for people: its kind, and the value if that is short. */
function found(value: unknown): string {
  if (typeof value === 'string') {
    return `the text ${JSON.stringify(value.length > maxShownText ? `${value.slice(0, maxShownText)}…` : value)}`;
  }
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (typeof value === 'boolean') return String(value);
  if (value instanceof Date) return 'a date';
  return Array.isArray(value) ? 'a list' : 'a table';
}

function listed(items: readonly string[]): string {
  return items.length < 2 ? items.join('') : `${items.slice(0, -1).join(', ')} or ${items.at(-1)}`;
}
