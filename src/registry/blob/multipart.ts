import { parseContentRange } from './ranges.ts';

/** Bytes of a blob, their offset in it and, if the server told it, the size of the blob. */
export interface Piece {
  readonly offset: number;
  readonly data: Buffer;
  readonly size?: number | undefined;
}

/** The head of a part has a boundary (at most 70 characters) and two or three short headers. */
const maxHeadBytes = 8 * 1024;
const headEnd = '\r\n\r\n';

/** The boundary of a multipart/byteranges Content-Type; undefined for any other type. */
export function byterangesBoundary(contentType: string | undefined): string | undefined {
  return /^multipart\/byteranges\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,200})"|([^\s";]{1,200}))/i
    .exec(contentType ?? '')
    ?.slice(1)
    .find(Boolean);
}

/**
 * Reads a multipart/byteranges body (RFC 9110, 14.6) as it arrives: the bytes of part after part. Lengths come from
 * each part's Content-Range, so data that looks like a boundary does no harm. Throws Error if the body does not have
 * that form or ends before its last boundary.
 */
export async function* readByteranges(chunks: AsyncIterable<Buffer>, boundary: string): AsyncGenerator<Piece, void> {
  let head = Buffer.alloc(0);
  let part: { offset: number; end: number; size: number | undefined } | undefined;
  let isClosed = false;
  for await (let chunk of chunks) {
    while (chunk.length > 0 && !isClosed) {
      if (part === undefined) {
        head = Buffer.concat([head, chunk]);
        chunk = Buffer.alloc(0);
        isClosed = head.toString('latin1').trimStart().startsWith(`--${boundary}--`);
        const end = head.indexOf(headEnd, firstLineStart(head));
        if (isClosed) break;
        if (end === -1 && head.length > maxHeadBytes) throw new Error('a part of the multipart answer has no head');
        if (end === -1) break;
        part = readHead(head.toString('latin1', 0, end), boundary);
        chunk = head.subarray(end + headEnd.length);
        head = Buffer.alloc(0);
      }
      const data = chunk.subarray(0, part.end - part.offset);
      if (data.length > 0) yield { offset: part.offset, data, size: part.size };
      chunk = chunk.subarray(data.length);
      part.offset += data.length;
      if (part.offset === part.end) part = undefined;
    }
  }
  if (!isClosed) throw new Error('the multipart answer ended before its last boundary');
}

/** Blank lines before a boundary are not the end of its head. */
function firstLineStart(head: Buffer): number {
  let start = 0;
  while (head[start] === 0x0d || head[start] === 0x0a) start++;
  return start;
}

function readHead(text: string, boundary: string): { offset: number; end: number; size: number | undefined } {
  const [first, ...headers] = text.trimStart().split('\r\n');
  if (first?.trimEnd() !== `--${boundary}`)
    throw new Error('a part of the multipart answer does not begin with the boundary');
  const header = headers.find((line) => /^content-range\s*:/i.test(line));
  const range = parseContentRange(header?.slice(header.indexOf(':') + 1));
  if (range?.kind !== 'range') throw new Error('a part of the multipart answer has no Content-Range');
  return { offset: range.start, end: range.end, size: range.size };
}
