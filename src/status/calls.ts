import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, credentials, logVerbosity, type ServiceError, setLogVerbosity, status } from '@grpc/grpc-js';
import { LazypullError } from '../errors.ts';

/** What the daemon answers from memory comes at once. */
const timeoutMs = 5_000;
const maxMessageBytes = 16 * 1024 * 1024;

type Method<I extends DescMessage, O extends DescMessage> = DescMethod & { input: I; output: O };

/** Calls of the services of a running daemon. */
export class DaemonCalls implements Disposable {
  readonly #address: string;
  readonly #client: Client;

  /** @param address path of the daemon's socket */
  constructor(address: string) {
    setLogVerbosity(logVerbosity.NONE);
    this.#address = address;
    this.#client = new Client(`unix:${address}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
    });
  }

  /** Rejects with `Unavailable`, and with what to do, where no daemon answers. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    const { path, write, read, bytes } = encode(method, request);
    const options = { deadline: Date.now() + timeoutMs };
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, write, read, bytes, options, (error, response) => {
        if (error || response === undefined) reject(this.#failure(error));
        else resolve(response);
      });
    });
  }

  /** The answers of a call that may take as long as it likes. Throws as `unary` does. */
  async *stream<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
  ): AsyncGenerator<MessageShape<O>> {
    const { path, write, read, bytes } = encode(method, request);
    const call = this.#client.makeServerStreamRequest(path, write, read, bytes);
    try {
      yield* call as AsyncIterable<MessageShape<O>>;
    } catch (error) {
      throw this.#failure(error as ServiceError);
    } finally {
      call.cancel();
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #failure(cause: ServiceError | null): LazypullError {
    const at = `the daemon at "${this.#address}"`;
    if (cause?.code === status.UNIMPLEMENTED) {
      return new LazypullError('Unimplemented', `Cannot ask ${at}: it is not lazypull, or an older version`, { cause });
    }
    if (cause?.code === status.FAILED_PRECONDITION) {
      return new LazypullError(
        'FailedPrecondition',
        `Cannot ask ${at}: ${cause.details.replace(/: failed precondition$/, '')}`,
      );
    }
    if (cause?.code === status.DEADLINE_EXCEEDED) {
      return new LazypullError('DeadlineExceeded', `Cannot ask ${at}: it did not answer in ${timeoutMs / 1000} s`);
    }
    const advice =
      'start it with "lazypull daemon" or "lazypull buildkitd", give its --address, or be root if it is another\'s';
    // grpc-js tells why in the middle of a long sentence.
    const errno = /connect (E[A-Z]+)/.exec(cause?.details ?? '')?.[1];
    return new LazypullError('Unavailable', `Cannot reach ${at}: ${errno ?? cause?.details ?? 'no answer'}; ${advice}`);
  }
}

function encode<I extends DescMessage, O extends DescMessage>(
  { input, output, parent, name }: Method<I, O>,
  request: MessageInitShape<I>,
) {
  return {
    path: `/${parent.typeName}/${name}`,
    write: (bytes: Uint8Array) => Buffer.from(bytes),
    read: (bytes: Buffer) => fromBinary(output, bytes),
    bytes: toBinary(input, create(input, request)),
  };
}
