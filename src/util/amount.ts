/** A number of bytes, or a share of a whole such as a file system. */
export type Amount = { readonly bytes: number } | { readonly share: number; readonly atLeastBytes?: number };

const units = new Map([
  ['', 1],
  ['k', 1e3],
  ['m', 1e6],
  ['g', 1e9],
  ['t', 1e12],
  ['ki', 2 ** 10],
  ['mi', 2 ** 20],
  ['gi', 2 ** 30],
  ['ti', 2 ** 40],
]);

/** Reads `20000000000`, `20GB`, `1.5 GiB` or `40%`; case does not matter. Undefined for anything else. */
export function parseAmount(text: string | number): Amount | undefined {
  const [, digits = '', unit = ''] = /^(\d{1,16}(?:\.\d{1,6})?) ?([a-z]*|%)$/i.exec(String(text)) ?? [];
  if (digits === '') return undefined;
  const number = Number(digits);
  if (unit === '%') return number <= 100 ? { share: number / 100 } : undefined;
  const factor = units.get(unit.toLowerCase().replace(/b$/, ''));
  const bytes = Math.floor(number * (factor ?? Number.NaN));
  return Number.isSafeInteger(bytes) ? { bytes } : undefined;
}

/** The bytes that an amount comes to. */
export function bytesOf(amount: Amount, wholeBytes: number): number {
  if ('bytes' in amount) return amount.bytes;
  return Math.max(Math.floor(amount.share * wholeBytes), amount.atLeastBytes ?? 0);
}
