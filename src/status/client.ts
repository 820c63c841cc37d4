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
import { Status } from '../gen/status/v1/status_pb.ts';
import { type RefusalReason, refusalReasons } from '../layers/refusal.ts';
import type { PrepareOutcome } from '../snapshots/outcomes.ts';
import type { DaemonStatus } from './status.ts';

/** The daemon answers from memory. */
const timeoutMs = 5_000;
const maxMessageBytes = 16 * 1024 * 1024;

/** Asks a running daemon what it is doing. */
export class StatusClient implements Disposable {
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

  /** @throws Unavailable, with what to do, where no daemon answers */
  async status(): Promise<DaemonStatus> {
    const { version, startedMs, layers, cache } = await this.#call(Status.method.get, {});
    return {
      version,
      startedMs: Number(startedMs),
      layers: layers.map((layer) => ({
        digest: layer.digest,
        references: layer.references,
        mounts: layer.mounts,
        bytesPerSecond: layer.bytesPerSecond,
        waiting: layer.waiting,
        mountedMs: Number(layer.mountedMs),
        blobBytes: Number(layer.blobBytes),
        contentBytes: Number(layer.contentBytes),
        presentBytes: Number(layer.presentBytes),
        fetchedBytes: Number(layer.fetchedBytes),
        errors: Number(layer.errors),
      })),
      cache: { bytes: Number(cache?.bytes ?? 0), layers: cache?.layers ?? 0 },
    };
  }

  /** What became of the layers with these digests, or of all that the daemon remembers; the latest last. */
  async outcomes(digests: readonly string[] = []): Promise<PrepareOutcome[]> {
    const { outcomes } = await this.#call(Status.method.outcomes, { digests: [...digests] });
    return outcomes.map(({ reference, digest, atMs, reason, message }) => ({
      reference,
      digest,
      atMs: Number(atMs),
      reason: reason === '' ? undefined : knownReason(reason),
      message,
    }));
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #call<I extends DescMessage, O extends DescMessage>(
    { input, output, parent, name }: DescMethod & { input: I; output: O },
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    const write = (bytes: Uint8Array) => Buffer.from(bytes);
    const read = (bytes: Buffer) => fromBinary(output, bytes);
    const bytes = toBinary(input, create(input, request));
    const options = { deadline: Date.now() + timeoutMs };
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(`/${parent.typeName}/${name}`, write, read, bytes, options, (error, response) => {
        if (error || response === undefined) reject(this.#failure(error));
        else resolve(response);
      });
    });
  }

  #failure(cause: ServiceError | null): LazypullError {
    const at = `the daemon at "${this.#address}"`;
    if (cause?.code === status.UNIMPLEMENTED) {
      return new LazypullError('Unimplemented', `Cannot ask ${at}: it is not lazypull, or an older version`, { cause });
    }
    if (cause?.code === status.DEADLINE_EXCEEDED) {
      return new LazypullError('DeadlineExceeded', `Cannot ask ${at}: it did not answer in ${timeoutMs / 1000} s`);
    }
    const advice = 'start it with "lazypull daemon", give its --address, or be root if it is another\'s';
    // grpc-js tells why in the middle of a long sentence.
    const errno = /connect (E[A-Z]+)/.exec(cause?.details ?? '')?.[1];
    return new LazypullError('Unavailable', `Cannot reach ${at}: ${errno ?? cause?.details ?? 'no answer'}; ${advice}`);
  }
}

/** A reason of a newer daemon is none that we have advice for. */
function knownReason(text: string): RefusalReason {
  return refusalReasons.find((reason) => reason === text) ?? 'other';
}
