import { Metadata } from '@grpc/grpc-js';
import { hintOf, messageOf } from '../errors.ts';

/**
 * The trailer of an answer that is an error: JSON of `message` and `hint`. Clients of other programs do not look at it.
 */
const header = 'lazypull-error-bin';

/** It travels in a header, which clients bound. */
const maxFieldLength = 2048;

/**
 * What our own clients are told of an error: the details of a gRPC status are one text, which ends as containerd's do.
 */
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

  /** Those that came with an answer; undefined if none did, or what came is something else. */
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
