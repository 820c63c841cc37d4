/** The head of an HTTP/1.1 request as far as the benchmark looks at it. */
export interface RequestHead {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly agent: string;
}

const maxHeadBytes = 64 * 1024;
const headEnd = '\r\n\r\n';

/**
 * Finds the request heads in what a client sends on one connection, and skips bodies that have a Content-Length. What
 * cannot be followed (a chunked body, another protocol) is counted no further.
 */
export class RequestHeads {
  readonly #found: (head: RequestHead) => void;
  #text = '';
  #bodyBytes = 0;

  constructor(found: (head: RequestHead) => void) {
    this.#found = found;
  }

  /** Takes the next bytes of the stream, in any portions. */
  feed(bytes: Buffer): void {
    const skipped = Math.min(this.#bodyBytes, bytes.length);
    this.#bodyBytes -= skipped;
    if (skipped === bytes.length) return;
    this.#text += bytes.toString('latin1', skipped);
    for (;;) {
      const end = this.#text.indexOf(headEnd);
      if (end < 0) break;
      const head = this.#text.slice(0, end);
      const rest = this.#text.slice(end + headEnd.length);
      const length = Number(field(head, 'content-length') ?? 0);
      this.#report(head);
      this.#text = rest.slice(Math.min(length, rest.length));
      this.#bodyBytes = Math.max(0, length - rest.length);
      if (!Number.isSafeInteger(length) || field(head, 'transfer-encoding') !== undefined) this.#giveUp();
    }
    if (this.#text.length > maxHeadBytes) this.#giveUp();
  }

  #giveUp(): void {
    this.#text = '';
    this.#bodyBytes = Infinity;
  }

  #report(head: string): void {
    const [, method, path] = /^([A-Z]+) (\S+) HTTP\/1\.[01](?:\r\n|$)/.exec(head) ?? [];
    if (method === undefined || path === undefined) return;
    this.#found({ method, path, range: field(head, 'range'), agent: field(head, 'user-agent') ?? '' });
  }
}

/** The value of a header field; `name` in lower case. */
function field(head: string, name: string): string | undefined {
  for (const line of head.split('\r\n').slice(1)) {
    const colon = line.indexOf(':');
    if (line.slice(0, colon).toLowerCase() === name) return line.slice(colon + 1).trim();
  }
  return undefined;
}
