import { InvalidArgumentError } from 'commander';
import { convertImage, defaultGzipLevel, type UnconvertedMember } from '../convert/convert.ts';
import type { LayerEvent } from '../convert/layer-converter.ts';
import type { NotLazyLayer } from '../convert/laziness.ts';
import { checkEndpoint, openEndpoints } from '../convert/endpoints.ts';
import { defaults } from '../config/load.ts';
import { defaultChunkBytes, maxChunkBytes } from '../convert/estargz-writer.ts';
import { messageOf } from '../errors.ts';
import type { Platform } from '../images/platforms.ts';
import { jsonLine } from '../util/printable.ts';
import { ConvertProgress } from './convert-progress.ts';
import { type Environment, exitCodes } from './environment.ts';
import { Interrupt } from './interrupt.ts';
import { ExitError, printText } from './output.ts';
import { openRegistry, platformArgument } from './registry.ts';
import { checkUsage } from './usage-error.ts';
import { CliCommand } from './command.ts';

/**
 * `lazypull convert SRC DST`. The result's digest goes to standard output, progress to standard error. Throws
 * LazypullErrors, and commander's errors for wrong usage.
 */
export function convertCommand({ env }: Environment): CliCommand {
  return new CliCommand('convert')
    .description('Copy an image with its layers as eStargz, so that it can be used before it is pulled')
    .argument('<source>', 'image: REGISTRY/NAME[:TAG][@DIGEST], or oci-layout:DIR[:NAME][@DIGEST]', endpoint)
    .argument('<destination>', 'where to write it: REGISTRY/NAME[:TAG], or oci-layout:DIR[:NAME]', endpoint)
    .option('--platform <os/arch>', 'convert only this platform of the image (repeatable; default: all)', append)
    .option('--level <1-9>', 'gzip level: higher is smaller and slower', integer(1, 9), defaultGzipLevel)
    .option('--chunk-size <bytes>', 'cut files into chunks of this size', integer(1, maxChunkBytes), defaultChunkBytes)
    .option('--temp-dir <dir>', "directory for converted layers until they are pushed (default: the system's)")
    .option('--config <file>', `config.toml with mirrors (default: ${defaults.config}, which may be missing)`)
    .option('--json', 'print events as JSON, one a line, in place of the digest and the progress')
    .explain(
      `The digest of the new image goes to standard output, progress to standard error. Layers that are eStargz already are copied as they are,
and so is what cannot be converted.

Each layer is checked by the rules of the daemon. The exit code is 3 if a converted layer, or every image, cannot be lazy. The image is there then, and
standard error says which layers are concerned and why. The exit code is 0 if all is lazy that can be.`,
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
  json?: boolean;
}

async function run(
  sourceText: string,
  destinationText: string,
  options: Options,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  await using client = await openRegistry(options.config, env, { logLevel: 'warn', isPatient: true });
  const { source, destination } = checkUsage(() => openEndpoints(client, sourceText, destinationText));
  using report = options.json === true ? new JsonReport() : new ConvertProgress(process.stderr, env);
  using interrupt = new Interrupt();
  const { estargz } = await import('../formats/estargz/format.ts');
  const { LazyCheck } = await import('../layers/resolve/lazy-check.ts');
  const image = await convertImage(source, destination, {
    platforms: options.platform,
    level: options.level,
    chunkBytes: options.chunkSize,
    temporaryDirectory: options.tempDir,
    onLayer: (event) => report.onLayer(event),
    onKept: (member) => report.onKept(member),
    check: new LazyCheck(estargz),
    onNotLazy: (layer) => report.onNotLazy(layer),
    signal: interrupt.signal,
  });
  report.finish(`Converted "${source.name}" to "${destination.name}"`);
  printText(options.json === true ? jsonLine({ event: 'image', ...image }) : `${image.digest}\n`);
  if (!image.isLazy) throw new ExitError(exitCodes.notLazy);
}

/** The progress, for programs. */
class JsonReport implements Disposable {
  onLayer({ digest, size, state, bytes }: LayerEvent): void {
    if (state === 'done' || state === 'kept') this.#write({ event: 'layer', digest, size, state, bytes });
  }

  onKept(member: UnconvertedMember): void {
    this.#write({ event: 'kept', ...member });
  }

  onNotLazy(layer: NotLazyLayer & { source: string }): void {
    this.#write({ event: 'not-lazy', ...layer });
  }

  finish(): void {}

  [Symbol.dispose](): void {}

  #write(event: object): void {
    printText(jsonLine(event));
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
