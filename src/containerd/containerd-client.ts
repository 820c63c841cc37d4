import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { type ErrorCode, LazypullError } from '../errors.ts';
import { Content, WriteAction } from '../gen/services/content/v1/content_pb.ts';
import { type CallFailure, type Method, RpcClient } from '../rpc/rpc-client.ts';

/** A Prepare waits for the index of a layer. */
const timeoutMs = 60_000;

/** A client of the API of containerd, in one of its namespaces. */
export class ContainerdClient implements Disposable {
  readonly #client: RpcClient;

  /** @param address path of the socket */
  constructor(address: string, namespace: string) {
    this.#client = new RpcClient(address, (failure) => failureOf(address, failure));
    this.#client.setHeader('containerd-namespace', namespace);
  }

  /** Everything that is made from now on is protected from the garbage collection as long as the lease exists. */
  useLease(id: string): void {
    this.#client.setHeader('containerd-lease', id);
  }

  /** @throws with the class of containerd's answer; Unavailable, with what to do, if there is no answer */
  call<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
    maxMs = timeoutMs,
  ): Promise<MessageShape<O>> {
    return this.#client.unary(method, request, maxMs);
  }

  /**
   * Stores a small document in the content store. If it is already there, it gets the labels.
   *
   * @param digest digest of the bytes, which containerd checks
   */
  async keep(digest: string, bytes: Uint8Array, labels: Readonly<Record<string, string>>): Promise<void> {
    try {
      await this.#write(digest, bytes, labels);
    } catch (error) {
      if (!(error instanceof LazypullError) || error.code !== 'AlreadyExists') throw error;
      const paths = Object.keys(labels).map((key) => `labels.${key}`);
      await this.call(Content.method.update, { info: { digest, labels: { ...labels } }, updateMask: { paths } });
    }
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }

  #write(digest: string, data: Uint8Array, labels: Readonly<Record<string, string>>): Promise<void> {
    const request = {
      action: WriteAction.COMMIT,
      ref: `lazypull-${digest}`,
      total: BigInt(data.length),
      expected: digest,
      data,
      labels: { ...labels },
    };
    return this.#client.send(Content.method.write, request, timeoutMs);
  }
}

/**
 * The error for a failed call: of containerd, or of the snapshotter that containerd could not reach for it.
 *
 * @param address address of containerd
 */
export function failureOf(
  address: string,
  { method, code, details, errno }: Pick<CallFailure, 'method' | 'code' | 'details' | 'errno'>,
): LazypullError {
  const at = `the containerd at "${address}"`;
  const [, notLoaded] = /snapshotter not loaded: (\S+?):? /.exec(`${details} `) ?? [];
  if (notLoaded !== undefined) {
    const hint =
      'add what "lazypull setup containerd" prints to its configuration, or give the --snapshotter that it has';
    return new LazypullError('FailedPrecondition', `Cannot find the snapshotter "${notLoaded}" in ${at}`, { hint });
  }
  if (code === status.UNIMPLEMENTED && /unknown service/.test(details)) {
    const text = `Cannot use what serves "${address}": it is not containerd`;
    return new LazypullError('FailedPrecondition', text, { hint: 'give the --address of containerd' });
  }
  // grpc-js describes our connection in Node's words, and containerd its own in Go's.
  const [, dialled, reason] = /dial unix:?(?:\/\/)? ?(\/\S*?): (.*?)"?$/.exec(details) ?? [];
  if (dialled !== undefined) {
    const text = `Cannot reach the daemon at "${dialled}", which ${at} has as a snapshotter: ${wordsOf(reason ?? '')}`;
    return new LazypullError('Unavailable', text, { hint: `start it: lazypull daemon --address ${dialled}` });
  }
  if (code === status.UNAVAILABLE && ofGo.test(details)) {
    const text = `Cannot call ${method} of ${at}: its snapshotter ended the connection (${details})`;
    return new LazypullError('Unavailable', text, { hint: 'try again; the log of the daemon says why' });
  }
  if (code === status.UNAVAILABLE) {
    const hint = 'start it, give its --address, or run this as root';
    return new LazypullError('Unavailable', `Cannot reach ${at}: ${errno ?? details}`, { hint });
  }
  return new LazypullError(codes.get(code) ?? 'Unknown', `Cannot call ${method} of ${at}: ${details}`);
}

/** How grpc-go reports that a connection has ended. */
const ofGo = /error reading|server preface|closing transport|transport is closing/;

/** Go's words for the reason why a socket could not be reached. */
function wordsOf(reason: string): string {
  if (/timeout|deadline/.test(reason)) return 'nothing serves there';
  if (/no such file/.test(reason)) return 'there is no such socket';
  if (/connection refused/.test(reason)) return 'nothing serves there';
  return reason.replace(/^connect: /, '');
}

const codes: ReadonlyMap<number, ErrorCode> = new Map([
  [status.ALREADY_EXISTS, 'AlreadyExists'],
  [status.NOT_FOUND, 'NotFound'],
  [status.FAILED_PRECONDITION, 'FailedPrecondition'],
  [status.PERMISSION_DENIED, 'PermissionDenied'],
  [status.DEADLINE_EXCEEDED, 'DeadlineExceeded'],
  [status.UNIMPLEMENTED, 'Unimplemented'],
]);
