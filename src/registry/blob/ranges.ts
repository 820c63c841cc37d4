/** What a Content-Range header says (RFC 9110, 14.4). `end` is exclusive, unlike on the wire. */
export type ContentRange =
  | { readonly kind: 'range'; readonly start: number; readonly end: number; readonly size: number | undefined }
  | { readonly kind: 'unsatisfied'; readonly size: number };

/**
 * Reads a Content-Range header: `bytes 0-9/100`, `bytes 0-9/*` or, on a 416, `bytes * /100` (without the blank).
 * Undefined for anything else, and for numbers that contradict each other or are not safe integers.
 */
export function parseContentRange(header: string | undefined): ContentRange | undefined {
  const match = /^bytes (?:(\d{1,16})-(\d{1,16})|\*)\/(\d{1,16}|\*)$/i.exec(header?.trim() ?? '');
  if (match === null) return undefined;
  const [, first, last, complete] = match;
  const size = complete === '*' ? undefined : safe(complete);
  if (size === undefined && complete !== '*') return undefined;
  if (first === undefined) return size === undefined ? undefined : { kind: 'unsatisfied', size };
  const start = safe(first);
  const end = safe(last, 1);
  if (start === undefined || end === undefined || start >= end) return undefined;
  if (size !== undefined && end > size) return undefined;
  return { kind: 'range', start, end, size };
}

/** The longest Range header to send: servers take 8 KiB for a header line, some proxies half of that. */
export const maxRangesLength = 4_000;

/** The Range header for parts of a blob; each `end` is exclusive and greater than its `start`. */
export function formatRanges(parts: readonly { readonly start: number; readonly end: number }[]): string {
  return `bytes=${parts.map(({ start, end }) => `${start}-${end - 1}`).join(',')}`;
}

/** The Range header for the last `bytes` bytes of a blob. */
export function formatSuffixRange(bytes: number): string {
  return `bytes=-${bytes}`;
}

/** Reads a Content-Length header; undefined if it is missing or not a safe integer. */
export function parseContentLength(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,16}$/.test(header.trim()) ? safe(header) : undefined;
}

function safe(digits: string | undefined, plus = 0): number | undefined {
  const value = Number(digits) + plus;
  return Number.isSafeInteger(value) ? value : undefined;
}
