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
    const at = `the containerd at "${this.#address}"`;
    if (cause?.code === status.UNAVAILABLE) {
      const reason = /connect (E[A-Z]+)/.exec(cause.details)?.[1] ?? cause.details;
      const advice = 'start it, give its --address, or be root';
      return new LazypullError('Unavailable', `Cannot reach ${at}: ${reason}; ${advice}`);
    }
    const code = codes.get(cause?.code ?? status.UNKNOWN) ?? 'Unknown';
    return new LazypullError(code, `Cannot have ${at} do ${method}: ${cause?.details ?? 'no answer'}`);
  }
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
