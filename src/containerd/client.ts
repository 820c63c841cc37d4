import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, credentials, logVerbosity, Metadata, type ServiceError, setLogVerbosity, status } from '@grpc/grpc-js';
import { type ErrorCode, LazypullError } from '../errors.ts';
import { Content, WriteAction } from '../gen/services/content/v1/content_pb.ts';

/** A Prepare waits for the index of a layer. */
const timeoutMs = 60_000;
const maxMessageBytes = 16 << 20;

/** A client of the API of containerd, in one of its namespaces. */
export class ContainerdClient implements Disposable {
  readonly #address: string;
  readonly #client: Client;
  readonly #metadata = new Metadata();

  /** @param address path of the socket */
  constructor(address: string, namespace: string) {
    setLogVerbosity(logVerbosity.NONE);
    this.#address = address;
    this.#client = new Client(`unix:${address}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.default_authority': 'localhost',
    });
    this.#metadata.set('containerd-namespace', namespace);
  }

  /** What is made from now on is kept from the garbage collection as long as the lease is there. */
  useLease(id: string): void {
    this.#metadata.set('containerd-lease', id);
  }

  /** @throws with the class of containerd's answer; Unavailable, with what to do, where none answers */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    const { output, input, parent, name } = method;
    const bytes = toBinary(input, create(input, request));
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        `/${parent.typeName}/${name}`,
        pass,
        (answer: Buffer) => fromBinary(output, answer),
        bytes,
        this.#metadata,
        { deadline: Date.now() + timeoutMs },
        (error, response) => {
          if (error || response === undefined) reject(this.#failure(name, error));
          else resolve(response);
        },
      );
    });
  }

  /**
   * Keeps a small document in the content store; one that is there gets the labels.
   *
   * @param digest of the bytes, which containerd checks
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
    this.#client.close();
  }

  #write(digest: string, data: Uint8Array, labels: Readonly<Record<string, string>>): Promise<void> {
    const { input, parent, name } = Content.method.write;
    const stream = this.#client.makeBidiStreamRequest(`/${parent.typeName}/${name}`, pass, pass, this.#metadata, {
      deadline: Date.now() + timeoutMs,
    });
    const request = create(input, {
      action: WriteAction.COMMIT,
      ref: `lazypull-${digest}`,
      total: BigInt(data.length),
      expected: digest,
      data,
      labels: { ...labels },
    });
    return new Promise((resolve, reject) => {
      stream.on('data', () => undefined);
      stream.once('end', resolve);
      stream.once('error', (error) => reject(this.#failure(name, error as ServiceError)));
      stream.end(toBinary(input, request));
    });
  }

  #failure(method: string, cause: ServiceError | null): LazypullError {
    return failureOf(this.#address, method, cause);
  }
}

/**
 * What to tell of a call that failed: of containerd, or of the snapshotter that containerd could not reach for it.
 *
 * @param address of containerd
 */
export function failureOf(
  address: string,
  method: string,
  cause: Pick<ServiceError, 'code' | 'details'> | null,
): LazypullError {
  const at = `the containerd at "${address}"`;
  const { code = status.UNKNOWN, details = 'no answer' } = cause ?? {};
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
  // grpc-js speaks of our connection in Node's words, and containerd of its own in Go's.
  const [, dialled, reason] = /dial unix:?(?:\/\/)? ?(\/\S*?): (.*?)"?$/.exec(details) ?? [];
  if (dialled !== undefined) {
    const text = `Cannot reach the daemon at "${dialled}", which ${at} has as a snapshotter: ${wordsOf(reason ?? '')}`;
    return new LazypullError('Unavailable', text, { hint: `start it: lazypull daemon --address ${dialled}` });
  }
  if (code === status.UNAVAILABLE && ofGo.test(details)) {
    const text = `Cannot have ${at} do ${method}: its snapshotter ended the connection (${details})`;
    return new LazypullError('Unavailable', text, { hint: 'try again; the log of the daemon says why' });
  }
  if (code === status.UNAVAILABLE) {
    const why = /connect (E[A-Z]+)/.exec(details)?.[1] ?? details;
    const text = `Cannot reach ${at}: ${why}; start it, give its --address, or be root`;
    return new LazypullError('Unavailable', text, { hint: '' });
  }
  return new LazypullError(codes.get(code) ?? 'Unknown', `Cannot have ${at} do ${method}: ${details}`);
}

/** How grpc-go says that a connection has ended. */
const ofGo = /error reading|server preface|closing transport|transport is closing/;

/** Go's words for why nobody could be reached at a socket. */
function wordsOf(reason: string): string {
  if (/timeout|deadline/.test(reason)) return 'nobody serves there';
  if (/no such file/.test(reason)) return 'there is no such socket';
  if (/connection refused/.test(reason)) return 'nobody serves there';
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

function pass(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes);
}
