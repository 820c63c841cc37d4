import { daemonRoot, loadConfig } from '../config/load.ts';
import { codeOf } from '../errors.ts';
import { PlainLayers } from '../image-reader/plain-layers.ts';
import { RegistryImage } from '../images/image-access.ts';
import type { FoundIndex } from '../indexes/found-index.ts';
import type { ResolvedImage } from '../images/resolve.ts';
import { defaultIndexConfig, openLayerIndexes } from '../indexes/open-layer-indexes.ts';
import { silentLog } from '../log.ts';
import type { RegistryClient } from '../registry/client.ts';
import { formatReference } from '../registry/reference.ts';
import { shorten, sizeText } from './value-text.ts';
import { say } from './output.ts';

/** How long a command waits for an index, which spares it to read all of a layer. */
const lookupMs = 3_000;

/**
 * How a command reads layers of an image whose manifest names no index: by the indexes that a daemon with this config
 * file has and finds, else by reading them whole, which is said on standard error. The caller disposes of it.
 */
export async function openPlainLayers(
  client: RegistryClient,
  image: ResolvedImage,
  configPath: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<PlainLayers> {
  const stack = new AsyncDisposableStack();
  const indexes = stack.use(await openIndexFinder(client, image, daemonRoot(undefined, env), configPath, env));
  const onPull = ({ digest: layer, size }: { digest: string; size: number }): void =>
    say('lazypull', `There is no index of layer ${shorten(layer)}: all of it is read, ${sizeText(size)}`);
  return new CommandLayers({ find: (layer, signal) => indexes.find(layer, signal), onPull }, stack);
}

/** Finds the layer indexes of an image. */
export interface IndexFinder extends AsyncDisposable {
  /** Begins to look for the indexes of several layers at once, and does not wait. */
  lookAhead(layers: readonly string[]): void;
  /** The index of a layer; undefined if there is none, or if no answer came within some seconds. */
  find(layer: string, signal?: AbortSignal): Promise<FoundIndex | undefined>;
  /** Which place did not answer whether it has the index of a layer, and why; undefined if all have. */
  unansweredFor(layer: string): string | undefined;
}

/** Finds indexes of the layers of an image where a daemon with this root and config file does. */
export async function openIndexFinder(
  client: RegistryClient,
  { reference, digest }: ResolvedImage,
  root: string,
  configPath: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<IndexFinder> {
  const { file } = await loadConfig({ config: configPath }, env);
  const config = { ...(file?.index ?? defaultIndexConfig), push: false, max_size: 0, lookup_timeout_msec: lookupMs };
  const image = new RegistryImage(client, formatReference({ ...reference, digest }));
  const indexes = await openLayerIndexes(root, config, client, silentLog);
  return {
    lookAhead: (layers) => indexes.lookAhead(layers, image),
    unansweredFor: (layer) => indexes.unansweredFor(layer),
    async find(layer, signal) {
      try {
        return await indexes.find(layer, image, signal);
      } catch (error) {
        if (codeOf(error) === 'Unavailable') return undefined; // only root reads what a daemon has
        throw error;
      }
    },
    [Symbol.asyncDispose]: () => indexes[Symbol.asyncDispose](),
  };
}

/** Says that a place did not answer whether it has indexes of these layers, and why: for the first such layer. */
export function sayUnanswered(name: string, indexes: IndexFinder, layers: readonly { digest: string }[]): void {
  const reason = layers.map(({ digest }) => indexes.unansweredFor(digest)).find((each) => each !== undefined);
  if (reason !== undefined) say(name, `Cannot tell whether there are indexes of all layers: ${reason}`);
}

/** Ends what was opened for it. */
class CommandLayers extends PlainLayers {
  readonly #stack: AsyncDisposableStack;

  constructor(options: ConstructorParameters<typeof PlainLayers>[0], stack: AsyncDisposableStack) {
    super(options);
    this.#stack = stack;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    await this.#stack.disposeAsync();
  }
}
