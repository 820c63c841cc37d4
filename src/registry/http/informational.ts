import type { Socket } from 'node:net';

/**
 * The first bytes of an informational answer (RFC 9110, 15.2). 101 is not one of these: it ends HTTP on the connection.
 */
const start = /^HTTP\/1\.[01] 1(?!01)\d\d[ \r\n]/;
const startForms = ['HTTP/1.1 1', 'HTTP/1.0 1'];
const longestStart = 'HTTP/1.1 100 '.length;
const end = /\r?\n\r?\n/;

/** A longer informational answer is left to the parser of the connection, which refuses it. */
const maxBytes = 16 * 1024;

/** The beginning of a request on the connection. */
const requestLine = /^[A-Z]+ \S+ HTTP\/1\.1\r\n/;

/**
 * Removes informational answers (100, 102, 103, ...) from the bytes that are read from a connection of HTTP/1.1,
 * however many come before an answer. undici ends a connection with an error if it gets a 100 that it did not ask for,
 * although every client must skip one (RFC 9110, 15.2).
 */
export function skipInformational(socket: Socket): void {
  const filter = new InformationalFilter();
  const read = socket.read.bind(socket);
  const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
  socket.read = (size?: number): Buffer | null => {
    for (;;) {
      const chunk = read(size) as Buffer | null;
      if (chunk === null) return null;
      const left = filter.pass(chunk);
      if (left.length > 0) return left;
    }
  };
  socket.write = (...args: unknown[]): boolean => {
    if (typeof args[0] === 'string' && requestLine.test(args[0])) filter.expectHead();
    return write(...args);
  };
}

const nothing = Buffer.alloc(0);

/** Filters informational answers out of the bytes of a connection. */
export class InformationalFilter {
  #held: Buffer = nothing;
  #isBeforeHead = true;

  /** The next bytes belong to the answer to another request. */
  expectHead(): void {
    this.#isBeforeHead = true;
  }

  pass(chunk: Buffer): Buffer {
    if (!this.#isBeforeHead) return chunk;
    let bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = nothing;
    while (bytes.length > 0) {
      const first = bytes.toString('latin1', 0, longestStart);
      if (couldStart(first)) {
        this.#held = bytes;
        return nothing;
      }
      const head = start.test(first) ? bytes.toString('latin1', 0, maxBytes) : undefined;
      if (head === undefined) break;
      const found = end.exec(head);
      if (found === null && bytes.length >= maxBytes) break;
      if (found === null) {
        this.#held = bytes;
        return nothing;
      }
      bytes = bytes.subarray(found.index + found[0].length);
    }
    if (bytes.length > 0) this.#isBeforeHead = false;
    return bytes;
  }
}

/** Whether bytes that are too few to decide may be the start of an informational answer. */
function couldStart(text: string): boolean {
  return text.length < longestStart && startForms.some((form) => form.startsWith(text) || text.startsWith(form));
}
