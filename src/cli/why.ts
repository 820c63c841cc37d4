import { defaults } from '../config/load.ts';
import { explain } from '../errors.ts';
import type { Platform } from '../images/platforms.ts';
import { type ResolvedImage, resolveImage } from '../images/resolve.ts';
import type { RegistryClient } from '../registry/client.ts';
import type { Reference } from '../registry/reference.ts';
import type { DaemonMemory, LayerVerdict } from '../status/why.ts';
import { inParallel } from '../util/in-parallel.ts';
import { type Paint, painter, plain } from '../util/colour.ts';
import { jsonLine, printable } from '../util/printable.ts';
import { shorten, sizeText } from './value-text.ts';
import type { Environment } from './environment.ts';
import { isIndexable } from '../image-reader/indexable.ts';
import type { LayerReport } from '../image-reader/inspect.ts';
import { columnsOf, fitted } from './screen.ts';
import { ExitError, printText, say } from './output.ts';
import { imageArgument, openRegistry, platformOption } from './registry.ts';
import { CliCommand } from './command.ts';
import { chooseDaemon, whichDaemon } from './which-daemon.ts';

const layersAtOnce = 4;

interface Options {
  address?: string;
  root?: string;
  config?: string;
  platform?: Platform;
  json?: boolean;
}

/** `lazypull why IMAGE`: says which layers are lazy, and why the others are not. */
export function whyCommand(environment: Environment): CliCommand {
  const { env, name } = environment;
  return chooseDaemon(
    new CliCommand('why')
      .description('Say of each layer of an image whether it is lazy, and if not, why and what to do')
      .argument('<image>', 'image as Docker writes it', imageArgument)
      .addOption(platformOption()),
  )
    .option('--config <file>', `config.toml with mirrors (default: ${defaults.config}, which may be missing)`)
    .option('--json', 'print JSON, one object for each layer')
    .explain('The exit code is 0 if every layer is lazy or can be, and 1 if one is not.', [
      'lazypull why registry.example/app:1',
      'lazypull why --json registry.example/app:1 | jq -r .message',
    ])
    .action(async (image: Reference, options: Options) => {
      const { address, root } = await whichDaemon(options, environment, 'asks');
      const memory = await askDaemon(address, name);
      await using client = await openRegistry(options.config, env);
      const verdicts = await verdictsOf({ client, reference: image, options, memory, root, environment });
      const paint = painter(process.stdout, env);
      const columns = columnsOf(process.stdout, env);
      if (verdicts.length === 0) say(name, 'The image has no layers: nothing of it has to be pulled');
      for (const verdict of verdicts) {
        printText(options.json === true ? jsonLine(verdict) : verdictText(verdict, paint, columns));
      }
      if (verdicts.some(({ reason }) => reason !== undefined)) throw new ExitError(1);
    });
}

/** What the daemon remembers. If none answers, it tells the user so and returns undefined. */
async function askDaemon(address: string, name: string): Promise<DaemonMemory | undefined> {
  const { StatusClient } = await import('../status/status-client.ts');
  using client = new StatusClient(address);
  try {
    const outcomes = await client.outcomes();
    const { layers } = await client.status();
    return { outcomes, mounted: new Set(layers.map(({ digest }) => digest)) };
  } catch (error) {
    say(name, `${explain(error)}. What follows is what the registry has.`);
    return undefined;
  }
}

interface Question {
  readonly client: RegistryClient;
  readonly reference: Reference;
  readonly options: Options;
  /** Undefined if no daemon answered. */
  readonly memory: DaemonMemory | undefined;
  /** Where the indexes of this machine are. */
  readonly root: string;
  readonly environment: Environment;
}

async function verdictsOf(question: Question): Promise<LayerVerdict[]> {
  const {
    client,
    reference,
    options,
    memory,
    environment: { name },
  } = question;
  const { inspectLayer } = await import('../image-reader/inspect.ts');
  const { explainLayers, explainOutcomes } = await import('../status/why.ts');
  let image: ResolvedImage;
  try {
    image = await resolveImage(client, reference, options.platform);
  } catch (error) {
    const verdicts = explainOutcomes(reference, memory?.outcomes ?? []);
    if (verdicts.length === 0) throw error;
    say(name, `${explain(error)}. What follows is what the daemon remembers.`);
    return verdicts;
  }
  const reports = await inParallel(image.manifest.layers, layersAtOnce, (layer) =>
    inspectLayer(client.blob(reference, layer.digest), layer),
  );
  return explainLayers(reference, await withIndexes(reports, image, question), memory);
}

/** Looks for layer indexes of the layers that need one and that no daemon was asked for. */
async function withIndexes(
  reports: readonly LayerReport[],
  image: ResolvedImage,
  { client, options, memory, root, environment: { env, name } }: Question,
): Promise<LayerReport[]> {
  const known = new Set([...(memory?.mounted ?? []), ...(memory?.outcomes ?? []).map(({ digest }) => digest)]);
  const open = reports.filter((report) => isIndexable(report) && !known.has(report.digest));
  if (open.length === 0) return [...reports];
  const { openIndexFinder, sayUnanswered } = await import('./index-finder.ts');
  const { originText } = await import('../indexes/index-origin.ts');
  await using indexes = await openIndexFinder(client, image, root, options.config, env);
  indexes.lookAhead(open.map(({ digest }) => digest));
  const found = await Promise.all(
    reports.map(async (report): Promise<LayerReport> => {
      const index = open.includes(report) ? await indexes.find(report.digest) : undefined;
      return index === undefined ? report : { ...report, problem: undefined, index: originText(index.origin) };
    }),
  );
  sayUnanswered(name, indexes, open);
  return found;
}

const words = {
  lazy: ['good', 'lazy'],
  refused: ['bad', 'NOT LAZY'],
  possible: ['good', 'can be lazy'],
  impossible: ['bad', 'CANNOT BE LAZY'],
} as const;

/** The text about a layer has at least so many columns. */
const minTextColumns = 20;

/** A verdict for people, in lines of `columns` if possible. */
export function verdictText(
  { digest, bytes, verdict, message, advice }: LayerVerdict,
  paint: Paint = plain,
  columns?: number,
): string {
  const [tone, word] = words[verdict];
  const first = `${shorten(digest)}  ${(bytes === undefined ? '?' : sizeText(bytes)).padStart(8)}  `;
  const room = columns === undefined ? undefined : Math.max(minTextColumns, columns - first.length);
  const text = fitted(`${word}${message === '' ? '' : `: ${printable(message)}`}`, room);
  const what = paint(tone, word) + text.slice(word.length).replaceAll('\n', `\n${' '.repeat(first.length)}`);
  return `${first}${what}\n${message.includes(advice) ? '' : `${fitted(`    ${advice}`, columns)}\n`}`;
}
