import { defaults } from '../config/load.ts';
import type { Platform } from '../images/platforms.ts';
import type { Descriptor } from '../images/manifest.ts';
import { resolveImage } from '../images/resolve.ts';
import { isIndexable, lazyAfterPull } from '../image-reader/indexable.ts';
import type { LayerReport } from '../image-reader/inspect.ts';
import { TraceStore } from '../layers/prefetch/trace.ts';
import { formatReference, type Reference } from '../registry/reference.ts';
import { inParallel } from '../util/in-parallel.ts';
import { type Paint, painter, plain } from '../util/colour.ts';
import { jsonLine, printable } from '../util/printable.ts';
import { shorten, sizeText, table } from './value-text.ts';
import type { Environment } from './environment.ts';
import { imageArgument, openRegistry, platformOption } from './registry.ts';
import { CliCommand } from './command.ts';
import { chooseDaemon, whichDaemon } from './which-daemon.ts';
import { printText } from './output.ts';

const layersAtOnce = 4;

interface Options {
  address?: string;
  root?: string;
  config?: string;
  platform?: Platform;
  json?: boolean;
}

/** A layer of the image, and the number of ranges in its trace on this machine. */
type Row = LayerReport & { readonly traceRanges: number | undefined };

/** `lazypull inspect IMAGE`: describes its layers. */
export function inspectCommand(environment: Environment): CliCommand {
  const { env, name } = environment;
  return chooseDaemon(
    new CliCommand('inspect')
      .description(
        'Show the layers of an image in a registry: format, sizes, files, landmarks, and traces on this machine',
      )
      .argument('<image>', 'image as Docker writes it', imageArgument)
      .addOption(platformOption()),
  )
    .option('--config <file>', `config.toml with mirrors (default: ${defaults.config}, which may be missing)`)
    .option('--json', 'print JSON')
    .explain('', [
      'lazypull inspect registry.example/app:1',
      'lazypull inspect --json registry.example/app:1 | jq .layers[].format',
    ])
    .action(async (reference: Reference, options: Options) => {
      const { inspectByIndex, inspectLayer } = await import('../image-reader/inspect.ts');
      const { root } = await whichDaemon(options, environment, 'reads');
      await using client = await openRegistry(options.config, env);
      const resolved = await resolveImage(client, reference, options.platform);
      const { digest, mediaType, platform, manifest } = resolved;
      const { openIndexFinder, sayUnanswered } = await import('./index-finder.ts');
      await using indexes = await openIndexFinder(client, resolved, root, options.config, env);
      const inspected = async (layer: Descriptor): Promise<LayerReport> => {
        const report = await inspectLayer(client.blob(reference, layer.digest), layer);
        const found = isIndexable(report) ? await indexes.find(layer.digest) : undefined;
        return found === undefined ? report : inspectByIndex(report, layer, found);
      };
      const traces = new TraceStore(root);
      const layers: Row[] = await inParallel(manifest.layers, layersAtOnce, async (layer) => ({
        ...(await inspected(layer)),
        traceRanges: (await traces.load(layer.digest).catch(() => undefined))?.ranges.length,
      }));
      sayUnanswered(name, indexes, manifest.layers);
      const image = { reference: formatReference(reference), digest, mediaType, platform };
      if (options.json === true) printText(jsonLine({ ...image, layers }));
      else printText(inspectText(image, layers, painter(process.stdout, env)));
    });
}

/** An image for people. */
export function inspectText(
  image: { reference: string; digest: string; mediaType: string; platform: string | undefined },
  layers: readonly Row[],
  paint: Paint = plain,
): string {
  const lazy = layers.filter((layer) => layer.problem === undefined || isIndexable(layer)).length;
  const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0);
  const head = ['LAYER', 'FORMAT', 'SIZE', 'CONTENT', 'FILES', 'CHUNKS', 'LANDMARK', 'TRACE'];
  const rows = layers.map(({ digest, format, bytes: size, content, traceRanges }) => [
    shorten(digest),
    format,
    sizeText(size),
    content === undefined ? '-' : sizeText(content.bytes),
    content === undefined ? '-' : String(content.files),
    content === undefined ? '-' : String(content.chunks),
    landmarkText(content?.landmark),
    traceRanges === undefined ? '-' : `${traceRanges} ranges`,
  ]);
  const indexed = layers.flatMap(({ digest, index, problem }) =>
    index === undefined || problem !== undefined
      ? []
      : [`${shorten(digest)} is read by a layer index, ${printable(index)}\n`],
  );
  const problems = layers.flatMap((layer) => {
    const { digest, problem } = layer;
    if (problem === undefined) return [];
    if (isIndexable(layer)) return [`${shorten(digest)} ${paint('good', 'can be lazy')}: ${lazyAfterPull}\n`];
    return [`${shorten(digest)} ${paint('bad', 'cannot be lazy')}: ${printable(problem.message)}\n`];
  });
  return [
    `${printable(image.reference)}\n`,
    `${image.digest}${image.platform === undefined ? '' : `, ${printable(image.platform)}`}, ${printable(image.mediaType)}\n`,
    `${layers.length} ${layers.length === 1 ? 'layer' : 'layers'}, ${sizeText(bytes)}; ${paint(lazy < layers.length ? 'warning' : 'good', `${lazy} can be lazy`)}\n\n`,
    ...(rows.length > 0 ? [table([head, ...rows])] : []),
    ...(indexed.length + problems.length > 0 ? ['\n', ...indexed, ...problems] : []),
  ].join('');
}

function landmarkText(landmark: NonNullable<LayerReport['content']>['landmark'] | undefined): string {
  if (landmark === undefined || landmark.kind === 'none') return '-';
  return landmark.kind === 'prefetch' ? `prefetch ${sizeText(landmark.offset)}` : 'no prefetch';
}
