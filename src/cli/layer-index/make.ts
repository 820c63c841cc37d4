import { createReadStream } from 'node:fs';
import type { KeyObject } from 'node:crypto';
import { codeOf, LazypullError, messageOf } from '../../errors.ts';
import type { Descriptor } from '../../images/manifest.ts';
import type { Platform } from '../../images/platforms.ts';
import { type ResolvedImage, resolveImage } from '../../images/resolve.ts';
import type { IndexArtifact } from '../../indexes/artifact.ts';
import { type BundledIndex, writeBundle } from '../../indexes/bundle.ts';
import { attachIndex } from '../../indexes/index-referrers.ts';
import { IndexRepository, parseRepository } from '../../indexes/index-repository.ts';
import type { IndexTrust } from '../../indexes/index-trust.ts';
import { type IndexConfig, signingKey } from '../../indexes/open-layer-indexes.ts';
import { signIndex } from '../../indexes/signature.ts';
import { tocDigestLabel } from '../../label-names.ts';
import type { RegistryClient } from '../../registry/client.ts';
import { formatReference, type Reference } from '../../registry/reference.ts';
import { inParallel } from '../../util/in-parallel.ts';
import { printable } from '../../util/printable.ts';
import { type Environment, exitCodes } from '../environment.ts';
import { shorten, sizeText, table } from '../value-text.ts';
import { Interrupt } from '../interrupt.ts';
import { ExitError, say } from '../output.ts';
import { openRegistry, platformArgument } from '../registry.ts';
import { checkUsage, UsageError } from '../usage-error.ts';
import { readKey } from './keys.ts';
import { indexConfig, openPlace, type Place, print, type StoreOptions } from './index-places.ts';
import { IndexMaker, type MadeIndex } from '../../image-reader/index-maker.ts';
import { trustOf, writeFileOf } from './transfer.ts';

/** Layers that are processed at a time: one is fetched while others are unpacked. */
const layersAtOnce = 6;

export interface MakeOptions extends StoreOptions {
  readonly push?: boolean;
  readonly repository?: string;
  readonly attach?: boolean;
  readonly output?: string;
  readonly sign?: string;
  readonly force?: boolean;
  readonly platform?: Platform[];
  readonly tempDir?: string;
}

/** The outcome for a layer. */
export interface LayerResult {
  readonly layer: string;
  readonly bytes: number;
  readonly state: 'made' | 'there' | 'lazy' | 'failed';
  readonly indexBytes?: number;
  readonly problem?: string;
}

/** The destination of indexes. */
interface Destination {
  /** Whether others would find an index of the layer there already. */
  has(layer: string): Promise<boolean>;
  take(made: MadeIndex, index: IndexArtifact, image: ResolvedImage): Promise<void>;
  finish(): Promise<void>;
}

/** `lazypull index IMAGE`: makes the indexes of its layers. */
export async function makeIndexes(reference: Reference, options: MakeOptions, environment: Environment): Promise<void> {
  checkDestination(options);
  const { env, name } = environment;
  const isKept = !options.push && !options.attach && options.output === undefined;
  const place = isKept ? await openPlace(options, environment, 'changes') : undefined;
  const config = place?.config ?? (await indexConfig(options.config, env));
  const key = (await readKey(options.sign)) ?? (options.push ? await signingKey(config) : undefined);
  await using client = await openRegistry(options.config, env, { logLevel: 'warn', isPatient: true });
  using interrupt = new Interrupt();
  await using maker = await IndexMaker.open(options.tempDir, interrupt.signal);
  const destination = place ? ofMachine(place) : await destinationOf(options, client, config, key !== undefined);
  const platforms = options.platform ?? [undefined];
  const images = await inParallel(platforms, layersAtOnce, (platform) => resolveImage(client, reference, platform));
  const layers = new Map(
    images.flatMap((image) => image.manifest.layers.map((layer) => [layer.digest, { layer, image }])),
  );
  say(
    name,
    `Reading ${layers.size} ${layers.size === 1 ? 'layer' : 'layers'} of "${printable(formatReference(reference))}"`,
  );
  const results = await inParallel(
    [...layers.values()],
    layersAtOnce,
    async ({ layer, image }): Promise<LayerResult> => {
      const about = { layer: layer.digest, bytes: layer.size };
      if (layer.annotations[tocDigestLabel]) return { ...about, state: 'lazy' };
      if (!options.force && (await destination.has(layer.digest))) return { ...about, state: 'there' };
      try {
        const made = await maker.make(layer, client.blob(reference, layer.digest));
        await destination.take(made, signed(made.index, key), image);
        return { ...about, state: 'made', indexBytes: made.index.size };
      } catch (error) {
        if (codeOf(error) !== 'Unimplemented') throw failed(layer, error);
        return { ...about, state: 'failed', problem: messageOf(error) };
      }
    },
  );
  await destination.finish();
  print(options, results, resultText(results));
  if (results.some(({ state }) => state === 'failed')) throw new ExitError(exitCodes.notLazy);
}

function checkDestination({ push, attach, output, repository }: MakeOptions): void {
  const given = [push && '--push', attach && '--attach', output !== undefined && '--output'].filter(Boolean);
  if (given.length > 1) throw new UsageError('InvalidArgument', `Cannot use ${given.join(' and ')} together`);
  if (repository !== undefined && !push)
    throw new UsageError('InvalidArgument', 'Cannot use --repository without --push');
  checkUsage(() => repository !== undefined && parseRepository(repository));
}

async function destinationOf(
  options: MakeOptions,
  client: RegistryClient,
  config: IndexConfig,
  isSigned: boolean,
): Promise<Destination> {
  if (options.output !== undefined) return ofFile(options.output);
  if (options.attach) return ofImage(client);
  const repository = options.repository ?? config.repository;
  if (repository !== '')
    return ofRepository(new IndexRepository(client, repository), trustOf({ ...config, repository }), isSigned);
  throw new LazypullError('InvalidArgument', 'Cannot push indexes: the config file has no index.repository', {
    hint: 'give --repository, or set repository in [index] of the config file',
  });
}

/** The store of this machine. */
function ofMachine({ store }: Place): Destination {
  return {
    has: async (layer) => (await store.find(layer))?.origin.kind === 'made',
    async take({ path }, index) {
      await store.keep({ ...index, origin: { kind: 'made', where: '' } }, contentOf(path));
    },
    finish: () => Promise.resolve(),
  };
}

function ofRepository(repository: IndexRepository, trust: IndexTrust, isSigned: boolean): Destination {
  return {
    async has(layer) {
      const found = await repository.present(layer);
      if (found === undefined || (isSigned && found.signature === undefined)) return false;
      return trust.problemWith(found, { kind: 'repository', where: repository.name }) === undefined;
    },
    async take({ path }, index) {
      await repository.push(index, () => createReadStream(path));
    },
    finish: () => Promise.resolve(),
  };
}

/** The image's own repository, where indexes are referrers of the image. */
function ofImage(client: RegistryClient): Destination {
  return {
    has: () => Promise.resolve(false),
    async take({ path }, index, { reference, mediaType, digest, documents }) {
      const subject = { mediaType, digest, size: documents.at(-1)!.bytes.length };
      await attachIndex(client, reference, subject, index, () => createReadStream(path));
    },
    finish: () => Promise.resolve(),
  };
}

/** One file for all layers. */
function ofFile(file: string): Destination {
  const made: { index: IndexArtifact; path: string }[] = [];
  async function* bundled(): AsyncGenerator<BundledIndex> {
    const inOrder = made.toSorted((a, b) => (a.index.layer < b.index.layer ? -1 : 1));
    for (const { index, path } of inOrder) yield { index, content: contentOf(path) };
  }
  return {
    has: () => Promise.resolve(false),
    async take({ path }, index) {
      made.push({ index, path });
    },
    finish: () => writeFileOf(file, writeBundle(bundled())),
  };
}

function signed(index: IndexArtifact, key: KeyObject | undefined): IndexArtifact {
  return key === undefined ? index : { ...index, signature: signIndex(index, key) };
}

function contentOf(path: string): AsyncIterable<Buffer> {
  return createReadStream(path) as AsyncIterable<Buffer>;
}

function failed({ digest }: Descriptor, error: unknown): LazypullError {
  return new LazypullError(codeOf(error), `Cannot make the index of the layer ${shorten(digest)}`, { cause: error });
}

/** The layers of an image for people. */
export function resultText(results: readonly LayerResult[]): string {
  const rows = results.map(({ layer, bytes, state, indexBytes, problem }) => {
    const share =
      indexBytes === undefined ? '-' : `${sizeText(indexBytes)} (${((100 * indexBytes) / bytes).toFixed(1)} %)`;
    return [shorten(layer), sizeText(bytes), share, problem ?? stateTexts[state]];
  });
  return table([['LAYER', 'SIZE', 'INDEX', ''], ...rows]);
}

const stateTexts = { made: 'made', there: 'was there already', lazy: 'needs none: it is eStargz', failed: 'failed' };

/** The option `--platform` of a command that takes several. */
export function appendPlatform(value: string, values: Platform[] = []): Platform[] {
  return [...values, platformArgument(value)];
}
