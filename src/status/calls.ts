import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { LazypullError } from '../errors.ts';
import { type CallFailure, type Method, RpcClient } from '../rpc/rpc-client.ts';

/** The daemon answers from memory, at once. */
const timeoutMs = 5_000;

/** Calls of the services of a running daemon. */
export class DaemonCalls implements Disposable {
  readonly #client: RpcClient;

  /** @param address path of the daemon's socket */
  constructor(address: string) {
    this.#client = new RpcClient(address, (failure) => failureOf(address, failure), timeoutMs);
  }

  /** Rejects with `Unavailable`, and with what to do, if no daemon answers. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    return this.#client.unary(method, request, timeoutMs);
  }

  /**
   * The answers of a call, which may take any time as long as the daemon shows signs of life. Throws as `unary`.
   */
  stream<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
  ): AsyncGenerator<MessageShape<O>> {
    return this.#client.stream(method, request);
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }
}

const absentHint = 'start it with "lazypull daemon" or "lazypull buildkitd", give its --address, or run this as root';
const silentHint = 'a process has the socket and does not answer: see its log, and whether it is stopped';

function failureOf(address: string, { code, details, fields, errno, cause }: CallFailure): LazypullError {
  const at = `the daemon at "${address}"`;
  switch (code) {
    case status.UNIMPLEMENTED:
      return new LazypullError('Unimplemented', `Cannot ask ${at}: it is not lazypull, or an older version`, { cause });
    case status.FAILED_PRECONDITION: {
      const { message = details, hint } = fields ?? {};
      return new LazypullError('FailedPrecondition', `Cannot ask ${at}: ${message}`, { hint });
    }
    case status.DEADLINE_EXCEEDED:
      return new LazypullError('DeadlineExceeded', `Cannot ask ${at}: it did not answer in ${timeoutMs / 1000} s`);
    default: {
      const hint = errno === undefined ? silentHint : absentHint;
      return new LazypullError('Unavailable', `Cannot reach ${at}: ${errno ?? details}`, { hint });
    }
  }
}
