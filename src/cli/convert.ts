import { InvalidArgumentError } from 'commander';
import { convertImage, defaultGzipLevel } from '../convert/convert.ts';
import { checkEndpoint, openEndpoints } from '../convert/endpoints.ts';
import { defaults } from '../config/load.ts';
import { defaultChunkBytes, maxChunkBytes } from '../convert/estargz-writer.ts';
import { messageOf } from '../errors.ts';
import type { Platform } from '../images/platforms.ts';
import { ConvertProgress } from './convert-progress.ts';
import type { Environment } from './environment.ts';
import { openRegistry, platformArgument } from './registry.ts';
import { checkUsage } from './usage-error.ts';
import { Verb } from './verb.ts';

/**
 * `lazypull convert SRC DST`. The result's digest goes to standard output, progress to standard error. Throws LazypullErrors, and
 * commander's errors for a wrong usage.
 */
export function convertCommand({ env }: Environment): Verb {
  return new Verb('convert')
    .description('Copy an image with its layers as eStargz, so that it can be used before it is pulled')
    .argument('<source>', 'image: REGISTRY/NAME[:TAG][@DIGEST], or oci-layout:DIR[:NAME][@DIGEST]', endpoint)
    .argument('<destination>', 'where to write it: REGISTRY/NAME[:TAG], or oci-layout:DIR[:NAME]', endpoint)
    .option('--platform <os/arch>', 'convert only this platform of the image (repeatable; default: all)', append)
    .option('--level <1-9>', 'gzip level: higher is smaller and slower', integer(1, 9), defaultGzipLevel)
    .option('--chunk-size <bytes>', 'cut files into chunks of this size', integer(1, maxChunkBytes), defaultChunkBytes)
    .option('--temp-dir <dir>', "directory for converted layers until they are pushed (default: the system's)")
    .option('--config <file>', `config.toml with mirrors (default: ${defaults.config}, which may be missing)`)
    .explain(
      'The digest of the new image goes to standard output, progress to standard error. Layers that are eStargz already are copied as they are.',
      [
        'lazypull convert registry.example/app:1 registry.example/app:1-esgz',
        'lazypull convert --platform linux/amd64 --level 9 oci-layout:./app:1 registry.example/app:1-esgz',
      ],
    )
    .action((source: string, destination: string, options: Options) => run(source, destination, options, env));
}

interface Options {
  platform?: Platform[];
  level: number;
  chunkSize: number;
  tempDir?: string;
  config?: string;
}

async function run(
  sourceText: string,
  destinationText: string,
  options: Options,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  await using client = await openRegistry(options.config, env, 'warn');
  const { source, destination } = checkUsage(() => openEndpoints(client, sourceText, destinationText));
  using progress = new ConvertProgress(process.stderr, env);
  using interrupt = new Interrupt();
  const image = await convertImage(source, destination, {
    platforms: options.platform,
    level: options.level,
    chunkBytes: options.chunkSize,
    temporaryDirectory: options.tempDir,
    onLayer: (event) => progress.onLayer(event),
    onKept: (member) => progress.onKept(member),
    signal: interrupt.signal,
  });
  progress.finish(`Converted "${source.name}" to "${destination.name}"`);
  process.stdout.write(`${image.digest}\n`);
}

/** Turns the first SIGINT or SIGTERM into an abort, so that temporary files are removed. The second one ends the process. */
class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  readonly #stop = (): void => {
    this[Symbol.dispose]();
    this.#controller.abort();
  };

  constructor() {
    process.on('SIGINT', this.#stop).on('SIGTERM', this.#stop);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#stop).off('SIGTERM', this.#stop);
  }
}

function endpoint(text: string): string {
  try {
    checkEndpoint(text);
    return text;
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}

function append(value: string, values: Platform[] = []): Platform[] {
  return [...values, platformArgument(value)];
}

function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}
