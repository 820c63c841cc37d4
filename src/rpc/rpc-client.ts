import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import {
  type CallOptions,
  Client,
  connectivityState,
  credentials,
  logVerbosity,
  Metadata,
  type ServiceError,
  setLogVerbosity,
  status,
} from '@grpc/grpc-js';
import type { LazypullError } from '../errors.ts';
import { ErrorFields } from './error-fields.ts';

const maxMessageBytes = 16 << 20;

/** A method of a service, with the messages that it takes and gives. */
export type Method<I extends DescMessage, O extends DescMessage> = DescMethod & { input: I; output: O };

/** Why a call failed: the server's answer, or that there is no server, as grpc-js tells it. */
export interface CallFailure {
  /** The name of the method. */
  readonly method: string;
  readonly code: status;
  readonly details: string;
  /** Fields that our own servers add to the error. */
  readonly fields: ErrorFields | undefined;
  /** Why there is no connection, as a code of the system (`ENOENT`); undefined if there is one. */
  readonly errno: string | undefined;
  readonly cause: unknown;
}

/** A client of gRPC services behind a unix socket: calls by the descriptors of their methods. */
export class RpcClient implements Disposable {
  readonly #client: Client;
  readonly #failure: (failure: CallFailure) => LazypullError;
  readonly #metadata = new Metadata();
  readonly #silentMs: number | undefined;

  /**
   * @param address path of the socket
   * @param failure makes the error of a failed call
   * @param silentMs a server that shows no sign of life for so long, and then does not answer a ping in the same time,
   * fails streams under way. Servers that allow few pings must not be asked for that
   */
  constructor(address: string, failure: (failure: CallFailure) => LazypullError, silentMs?: number) {
    // grpc-js would print on standard error what also comes to us as an error.
    setLogVerbosity(logVerbosity.NONE);
    this.#failure = failure;
    this.#silentMs = silentMs;
    this.#client = new Client(`unix:${address}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.default_authority': 'localhost',
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      ...(silentMs !== undefined && { 'grpc.keepalive_time_ms': silentMs, 'grpc.keepalive_timeout_ms': silentMs }),
    });
  }

  /** Sends a header with each call from now on. */
  setHeader(name: string, value: string): void {
    this.#metadata.set(name, value);
  }

  /** The single answer of a call, after `timeoutMs` at the latest. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
    timeoutMs: number,
  ): Promise<MessageShape<O>> {
    const { path, read, bytes } = encode(method, request);
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, response?: MessageShape<O>): void => {
        if (error || response === undefined) reject(this.#error(method, error));
        else resolve(response);
      };
      this.#client.makeUnaryRequest(path, pass, read, bytes, this.#metadata, until(timeoutMs), done);
    });
  }

  /** The answers of a call without a time limit. */
  async *stream<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
  ): AsyncGenerator<MessageShape<O>> {
    const { path, read, bytes } = encode(method, request);
    const call = this.#client.makeServerStreamRequest(path, pass, read, bytes, this.#metadata);
    let isSilent = false;
    // grpc-js pings only once the server has sent its settings, and waits for these without a limit.
    const cancelIfSilent = (): void => {
      isSilent = this.#client.getChannel().getConnectivityState(false) === connectivityState.CONNECTING;
      if (isSilent) call.cancel();
    };
    const timer = this.#silentMs === undefined ? undefined : setTimeout(cancelIfSilent, this.#silentMs);
    try {
      yield* call as AsyncIterable<MessageShape<O>>;
    } catch (error) {
      const cause = error as ServiceError;
      throw this.#error(method, isSilent ? Object.assign(cause, { code: status.DEADLINE_EXCEEDED }) : cause);
    } finally {
      clearTimeout(timer);
      call.cancel();
    }
  }

  /**
   * Sends a single request of a call that could take more, and waits until the server ends the call, `timeoutMs` at
   * most.
   */
  send<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
    timeoutMs: number,
  ): Promise<void> {
    const { path, bytes } = encode(method, request);
    const call = this.#client.makeBidiStreamRequest(path, pass, pass, this.#metadata, until(timeoutMs));
    return new Promise((resolve, reject) => {
      call.on('data', () => undefined);
      call.once('end', resolve);
      call.once('error', (error) => reject(this.#error(method, error as ServiceError)));
      call.end(bytes);
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #error({ name }: DescMethod, cause: ServiceError | null): LazypullError {
    const { code = status.UNKNOWN, details = 'no answer', metadata } = cause ?? {};
    // grpc-js gives the reason in the middle of a long sentence.
    const errno = code === status.UNAVAILABLE ? /connect (E[A-Z]+)/.exec(details)?.[1] : undefined;
    return this.#failure({ method: name, code, details, fields: ErrorFields.in(metadata), errno, cause });
  }
}

function encode<I extends DescMessage, O extends DescMessage>(
  { input, output, parent, name }: Method<I, O>,
  request: MessageInitShape<I>,
) {
  return {
    path: `/${parent.typeName}/${name}`,
    read: (bytes: Buffer) => fromBinary(output, bytes),
    bytes: toBinary(input, create(input, request)),
  };
}

function pass(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes);
}

function until(timeoutMs: number): CallOptions {
  return { deadline: Date.now() + timeoutMs };
}
