import { Metadata } from '@grpc/grpc-js';
import { hintOf, messageOf } from '../errors.ts';

/** The trailer of an error answer: JSON with `message` and `hint`. Clients of other programs ignore it. */
const header = 'lazypull-error-bin';

/** It travels in a header, and clients limit headers. */
const maxFieldLength = 2048;

/** Fields of an error for our own clients. The details of a gRPC status are one text, which ends as containerd's do. */
export class ErrorFields {
  readonly message: string;
  readonly hint: string | undefined;

  constructor(message: string, hint: string | undefined) {
    this.message = cut(message);
    this.hint = hint === undefined ? undefined : cut(hint);
  }

  static of(error: unknown): ErrorFields {
    return new ErrorFields(messageOf(error), hintOf(error));
  }

  /** The fields in an answer; undefined if there are none, or if they are something else. */
  static in(metadata: Metadata | undefined): ErrorFields | undefined {
    const [bytes] = metadata?.get(header) ?? [];
    if (!Buffer.isBuffer(bytes)) return undefined;
    try {
      const { message, hint } = JSON.parse(bytes.toString('utf8')) as Partial<Record<string, unknown>>;
      if (typeof message !== 'string') return undefined;
      return new ErrorFields(message, typeof hint === 'string' ? hint : undefined);
    } catch {
      return undefined;
    }
  }

  get metadata(): Metadata {
    const metadata = new Metadata();
    const { message, hint } = this;
    metadata.set(header, Buffer.from(JSON.stringify({ message, hint })));
    return metadata;
  }
}

function cut(text: string): string {
  const whole = text.toWellFormed();
  return whole.length > maxFieldLength ? `${whole.slice(0, maxFieldLength).toWellFormed()}…` : whole;
}
