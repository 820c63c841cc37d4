/** The bytes [start, end) of a blob, and whether a client asked for this range or for the whole blob. */
export interface AskedRange {
  readonly start: number;
  readonly end: number;
  readonly isPart: boolean;
}

/**
 * The range that a Range header asks for, of `size` bytes (RFC 9110, 14.2): one range, `bytes=0-99`, `bytes=100-` or
 * `bytes=-100`. It is the whole blob if there is no header, or a header of another form, which a server may ignore.
 * Undefined for an empty range.
 */
export function askedRange(header: string | undefined, size: number): AskedRange | undefined {
  const all = { start: 0, end: size, isPart: false };
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? '') ?? [];
  if (first === '' && last === '') return all;
  if (first === '') {
    const bytes = Math.min(Number(last), size);
    return bytes === 0 ? undefined : { start: size - bytes, end: size, isPart: true };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return all;
  const end = last === '' ? size : Math.min(Number(last) + 1, size);
  return start < end ? { start, end, isPart: true } : undefined;
}
