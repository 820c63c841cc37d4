/** A JSON object with fields of any kind. */
export type Json = Readonly<Record<string, unknown>>;

/** The JSON object in a text; undefined if it is something else. */
export function parseObject(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a JSON value is an object. */
export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The non-empty string at `key`, or undefined. */
export function stringIn(value: unknown, key: string | undefined): string | undefined {
  const found = isObject(value) && key !== undefined && Object.hasOwn(value, key) ? value[key] : undefined;
  return typeof found === 'string' && found !== '' ? found : undefined;
}
