import { LazypullError } from '../errors.ts';

export type Json = Record<string, unknown>;

/**
 * Reads a JSON object as Go's encoding/json reads it into a struct, which is how containerd and BuildKit read the
 * documents of images: `null` is the same as an absent field, and the case of a known field's name does not matter.
 * Known fields get their own names; all others stay.
 *
 * @param what the document, for the message
 * @throws InvalidArgument if it is not a JSON object, or names one field twice in different cases: Go would take parts
 * of both
 */
export function parseGoObject(bytes: Buffer, fields: readonly string[], what: string): Json {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new LazypullError('InvalidArgument', `Cannot read the image ${what}: it is not JSON`, { cause });
  }
  if (!isObject(json)) throw invalidDocument(what, 'it is not a JSON object');
  return asGoStruct(json, fields, what);
}

/** The same for an object inside a document. */
export function asGoStruct(object: Json, fields: readonly string[], what: string): Json {
  const known = new Map(fields.map((field) => [fold(field), field]));
  const result = new Map<string, unknown>();
  for (const [key, value] of Object.entries(object)) {
    const field = known.get(fold(key));
    const name = field ?? key;
    if (result.has(name)) throw invalidDocument(what, `it has the field "${name}" twice`);
    result.set(name, value);
  }
  for (const field of fields) if (result.get(field) === null) result.delete(field);
  return Object.fromEntries(result);
}

/** A list of Go: an absent one and `null` are empty. Undefined for anything else, and for more than `max` items. */
export function goList(value: unknown, max: number): readonly unknown[] | undefined {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) && value.length <= max ? (value as readonly unknown[]) : undefined;
}

/** A map of strings of Go, in which `null` is an empty map, or an empty string. Undefined for anything else. */
export function goStrings(value: unknown): Record<string, string> | undefined {
  if (value === undefined || value === null) return {};
  if (!isObject(value)) return undefined;
  const entries = Object.entries(value).map(([key, item]) => [key, item ?? ''] as const);
  return entries.every(([, item]) => typeof item === 'string')
    ? (Object.fromEntries(entries) as Record<string, string>)
    : undefined;
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function invalidDocument(what: string, why: string): LazypullError {
  return new LazypullError('InvalidArgument', `Cannot use the image: its ${what} is not valid: ${why}`);
}

/**
 * Letters that differ only in their case become the same, even the long s and the Kelvin sign, as in Go's
 * bytes.EqualFold.
 */
function fold(name: string): string {
  return name.toUpperCase().toLowerCase();
}
