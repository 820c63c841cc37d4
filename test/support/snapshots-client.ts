import { mkdir } from 'node:fs/promises';
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import { HealthCheckResponse_ServingStatus, Health } from '../../src/gen/health/v1/health_pb.ts';
import { Snapshots } from '../../src/gen/services/snapshots/v1/snapshots_pb.ts';
import { run } from './program.ts';

/** A layer as a client of the snapshotter knows it from the manifest. */
export interface ImageLayer {
  readonly digest: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** One of the mounts that the service answers with. */
interface Mount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

const { method } = Snapshots;

/** A client of the Snapshots service that asks as containerd and BuildKit do. */
export class SnapshotsClient implements Disposable {
  readonly #client: Client;

  constructor(socket: string) {
    this.#client = new Client(`unix:${socket}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
    });
  }

  /**
   * Has every layer of an image prepared, the lowest first, under names that start with `name`.
   *
   * @returns the name of the uppermost one. Rejects if a layer does not become lazy
   */
  async prepareImage(name: string, reference: string, layers: readonly ImageLayer[]): Promise<string> {
    let parent = '';
    for (const [index, layer] of layers.entries()) {
      const target = `${name}-${index}`;
      const above = layers.slice(index).map(({ digest }) => digest);
      if (!(await this.prepareLayer(target, parent, reference, layer, above))) {
        throw new Error(`Layer ${index} of ${reference}, ${layer.digest}, is not lazy: the daemon's log says why`);
      }
      parent = target;
    }
    return parent;
  }

  /**
   * Has one layer prepared.
   *
   * @param above the digests of this layer and those above it in the image, as clients send them
   * @param deadlineMs after which the call is given up
   * @returns whether it is lazy; if it is not, the answered mounts are removed again
   */
  async prepareLayer(
    target: string,
    parent: string,
    reference: string,
    layer: ImageLayer,
    above: readonly string[] = [layer.digest],
    deadlineMs = Number.POSITIVE_INFINITY,
  ): Promise<boolean> {
    const key = `extract-${target}`;
    const request = { key, parent, labels: labelsOf(target, reference, layer, above) };
    try {
      await this.#call(method.prepare, request, new Metadata(), deadlineMs);
    } catch (error) {
      if (codeOf(error) === status.ALREADY_EXISTS) return true;
      throw error;
    }
    await this.#call(method.remove, { key });
    return false;
  }

  /** Mounts a view of a committed snapshot, read-only, or with `writable` an active snapshot on it. */
  async mount(name: string, directory: string, writable = false): Promise<void> {
    const request = { key: `mounted-${directory}`, parent: name };
    const { mounts } = writable ? await this.#call(method.prepare, request) : await this.#call(method.view, request);
    await mkdir(directory, { recursive: true });
    for (const mount of mounts) await mountAt(mount, directory);
  }

  /** Unmounts what `mount` mounted and removes its snapshot. */
  async unmount(directory: string): Promise<void> {
    await run('umount', [directory]);
    await this.#call(method.remove, { key: `mounted-${directory}` });
  }

  /** As a caller in a namespace of containerd. */
  async usage(key: string, namespace: string): Promise<{ bytes: number; inodes: number }> {
    const metadata = new Metadata();
    metadata.set('containerd-namespace', namespace);
    const { size, inodes } = await this.#call(method.usage, { key }, metadata);
    return { bytes: Number(size), inodes: Number(inodes) };
  }

  async remove(key: string): Promise<void> {
    await this.#call(method.remove, { key });
  }

  async cleanup(): Promise<void> {
    await this.#call(method.cleanup, {});
  }

  /** What the health check of gRPC answers. */
  async isServing(): Promise<boolean> {
    const { status } = await this.#call(Health.method.check, { service: Snapshots.typeName });
    return status === HealthCheckResponse_ServingStatus.SERVING;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #call<I extends DescMessage, O extends DescMessage>(
    { input, output, parent, name }: DescMethod & { input: I; output: O },
    request: MessageInitShape<I>,
    metadata = new Metadata(),
    deadlineMs = Number.POSITIVE_INFINITY,
  ): Promise<MessageShape<O>> {
    const write = (bytes: Uint8Array) => Buffer.from(bytes);
    const read = (bytes: Buffer) => fromBinary(output, bytes);
    const path = `/${parent.typeName}/${name}`;
    const options = { deadline: Date.now() + deadlineMs };
    return new Promise((resolve, reject) => {
      const bytes = toBinary(input, create(input, request));
      this.#client.makeUnaryRequest(path, write, read, bytes, metadata, options, (error, response) => {
        if (error || response === undefined) reject(error ?? new Error('No response'));
        else resolve(response);
      });
    });
  }
}

/** Keys and values of labels have 4096 bytes together (containerd, pkg/labels). */
const maxLabelBytes = 4096;

function labelsOf(
  target: string,
  reference: string,
  { digest, annotations }: ImageLayer,
  above: readonly string[],
): Record<string, string> {
  const layers = 'containerd.io/snapshot/remote/stargz.layers';
  const fitting = Math.floor((maxLabelBytes - layers.length) / (digest.length + 1));
  return {
    [layers]: above.slice(0, fitting).join(','),
    'containerd.io/snapshot.ref': target,
    'containerd.io/snapshot/remote/stargz.reference': reference,
    'containerd.io/snapshot/remote/stargz.digest': digest,
    'containerd.io/snapshot/stargz/toc.digest': annotations?.['containerd.io/snapshot/stargz/toc.digest'] ?? '',
  };
}

async function mountAt({ type, source, options }: Mount, directory: string): Promise<void> {
  if (type === 'bind') {
    await run('mount', ['--bind', source, directory]);
    if (options.includes('ro')) await run('mount', ['-o', 'remount,bind,ro', directory]);
  } else {
    await run('mount', ['-t', type, '-o', options.join(','), source, directory]);
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
