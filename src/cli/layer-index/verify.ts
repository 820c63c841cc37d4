import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { codeOf, LazypullError, messageOf } from '../../errors.ts';
import { RegistryImage } from '../../images/image-access.ts';
import type { Descriptor } from '../../images/manifest.ts';
import type { Platform } from '../../images/platforms.ts';
import { type ResolvedImage, resolveImage } from '../../images/resolve.ts';
import type { IndexSource } from '../../indexes/index-lookups.ts';
import { originText } from '../../indexes/index-origin.ts';
import { IndexReferrers } from '../../indexes/index-referrers.ts';
import type { IndexTrust } from '../../indexes/index-trust.ts';
import { compareIndex } from '../../indexes/compare-index.ts';
import { readIndexFile } from '../../indexes/index-file.ts';
import { readAt } from '../../indexes/index-record.ts';
import { openIndexParts } from '../../indexes/open-layer-indexes.ts';
import { tocDigestLabel } from '../../label-names.ts';
import { silentLog } from '../../log.ts';
import type { RegistryClient } from '../../registry/client.ts';
import { formatReference, type Reference } from '../../registry/reference.ts';
import { type Paint, painter, plain } from '../../util/colour.ts';
import { printable } from '../../util/printable.ts';
import type { Environment } from '../environment.ts';
import { shorten } from '../value-text.ts';
import { Interrupt } from '../interrupt.ts';
import { ExitError } from '../output.ts';
import { imageArgument, openRegistry, platformOption } from '../registry.ts';
import type { CliCommand } from '../command.ts';
import { openPlace, print, storeOptions, type StoreOptions } from './index-places.ts';
import { IndexMaker } from '../../image-reader/index-maker.ts';
import { inFile } from './show.ts';

interface Options extends StoreOptions {
  readonly image?: Reference;
  readonly platform?: Platform;
  readonly tempDir?: string;
}

/** The result for the index of a layer. */
interface Verified {
  readonly layer: string;
  readonly state: 'right' | 'wrong' | 'none' | 'not compared';
  readonly problems: readonly string[];
  /** Where the index is; undefined for one in a file, and for none. */
  readonly where?: string;
  /** Why this machine does not use it; undefined if it does. */
  readonly unused?: string;
}

/** An index to verify: the first `size` bytes of a file. */
interface Given {
  readonly index: { readonly layer: string; readonly digest: string };
  readonly path: string;
  readonly size: number;
}

/** `lazypull index verify`. */
export function addVerify(parent: CliCommand, environment: Environment): void {
  storeOptions(parent.command('verify'))
    .description(
      'Read the layers of an image and compare them with their indexes: all that a daemon of this machine may use, or those in a file',
    )
    .argument('<image-or-file>', 'image as Docker writes it, or a file that "lazypull index export" wrote')
    .option(
      '--image <image>',
      'the image that has the layers of a file: without it only checksums are compared',
      imageArgument,
    )
    .addOption(platformOption())
    .option('--temp-dir <dir>', "directory for unpacked data during the work (default: the system's)")
    .explain('The exit code is 1 if an index is wrong.', [
      'lazypull index verify registry.example/app:1',
      'lazypull index verify indexes.tar --image registry.example/app:1',
    ])
    .action(async (what: string, options: Options) => {
      await using client = await openRegistry(options.config, environment.env, { isPatient: true });
      using interrupt = new Interrupt();
      await using maker = await IndexMaker.open(options.tempDir, interrupt.signal);
      const paint = painter(process.stdout, environment.env);
      const verified = existsSync(what)
        ? verifyFile(what, client, maker, options)
        : verifyImage(imageArgument(what), client, maker, options, environment);
      let isWell = true;
      for await (const each of verified) {
        if (each.state === 'wrong') isWell = false;
        print(options, [each], verifiedText(each, paint));
      }
      if (!isWell) throw new ExitError(1);
    });
}

async function* verifyFile(
  file: string,
  client: RegistryClient,
  maker: IndexMaker,
  options: Options,
): AsyncGenerator<Verified> {
  const image = options.image && (await resolveImage(client, options.image, options.platform));
  for await (const index of inFile(file)) {
    const { layer } = index.index;
    const descriptor = image?.manifest.layers.find(({ digest }) => digest === layer);
    if (image !== undefined && descriptor === undefined) {
      yield { layer, state: 'not compared', problems: ['the image does not have the layer'] };
    } else yield await verifyIndex(index, image && { image, descriptor: descriptor! }, client, maker);
  }
}

/** The indexes of all places where a daemon of this machine looks, in its order. */
async function* verifyImage(
  reference: Reference,
  client: RegistryClient,
  maker: IndexMaker,
  options: Options,
  environment: Environment,
): AsyncGenerator<Verified> {
  const { root, config } = await openPlace(options, environment, 'reads');
  const image = await resolveImage(client, reference, options.platform);
  const { store, trust, repository } = await openIndexParts(root, config, client, silentLog);
  const access = new RegistryImage(client, formatReference({ ...reference, digest: image.digest }));
  const name = `${reference.host}/${reference.repository}`;
  const attached = config.referrers ? new IndexReferrers(access, name) : undefined;
  for (const descriptor of image.manifest.layers) {
    const layer = descriptor.digest;
    if (descriptor.annotations[tocDigestLabel]) continue;
    const of = { image, descriptor };
    let isAnywhere = false;
    const kept = await store.find(layer);
    if (kept !== undefined) {
      isAnywhere = true;
      const problem = trust.problemWith(kept, kept.origin);
      yield { ...(await verifyIndex({ ...kept, index: kept }, of, client, maker)), where: 'here', ...unused(problem) };
    }
    for (const source of [repository, attached]) {
      const verified = source && (await verifyOffered(source, layer, trust, of, client, maker));
      if (verified === undefined) continue;
      isAnywhere = true;
      yield verified;
    }
    if (!isAnywhere) yield { layer, state: 'none', problems: ['there is no layer index'] };
  }
}

/** The index of a layer that a registry has; undefined if it has none. */
async function verifyOffered(
  source: IndexSource,
  layer: string,
  trust: IndexTrust,
  of: { readonly image: ResolvedImage; readonly descriptor: Descriptor },
  client: RegistryClient,
  maker: IndexMaker,
): Promise<Verified | undefined> {
  const where = originText({ kind: source.kind, where: source.name }).replace(/^found /, '');
  const signal = new AbortController().signal;
  try {
    const { index, blob } = await source.find(layer, signal);
    const path = await maker.write(layer, blob.range(0, index.size));
    const problem = trust.problemWith(index, { kind: source.kind, where: source.name });
    const verified = await verifyIndex({ index, path, size: index.size }, of, client, maker);
    return { ...verified, where, ...unused(problem) };
  } catch (error) {
    const code = codeOf(error);
    if (code === 'NotFound') return undefined;
    const state = code === 'DataLoss' ? 'wrong' : 'not compared';
    return { layer, state, problems: [messageOf(error)], where };
  }
}

function unused(problem: string | undefined): Pick<Verified, 'unused'> {
  return problem === undefined ? {} : { unused: `it ${problem}` };
}

/** Compares an index with its own checksums, and with the layer if it is given. */
async function verifyIndex(
  { index, path, size }: Given,
  of: { readonly image: ResolvedImage; readonly descriptor: Descriptor } | undefined,
  client: RegistryClient,
  maker: IndexMaker,
): Promise<Verified> {
  const { layer } = index;
  try {
    const given = await readIndexFile(path, layer, size);
    if (given.index.digest !== index.digest) throw new LazypullError('DataLoss', 'its bytes do not match its digest');
    if (of === undefined) return { layer, state: 'right', problems: [] };
    const blob = client.blob(of.image.reference, layer);
    const made = await maker.make(of.descriptor, blob);
    if (made.index.digest === index.digest) return { layer, state: 'right', problems: [] };
    await using file = await open(path);
    const read = (start: number, end: number): Promise<Buffer> => readAt(file, start, end);
    const problems = await compareIndex({ content: given.content, read }, made.content, blob);
    return { layer, state: problems.length === 0 ? 'right' : 'wrong', problems };
  } catch (error) {
    if (!ofIndex.has(codeOf(error))) throw error;
    return { layer, state: 'wrong', problems: [messageOf(error)] };
  }
}

/** Errors of an index, and not of the way to the layer. */
const ofIndex: ReadonlySet<string> = new Set(['DataLoss', 'FailedPrecondition', 'Unimplemented', 'ResourceExhausted']);

/** One layer for people. */
export function verifiedText({ layer, state, problems, where, unused: why }: Verified, paint: Paint = plain): string {
  const painted = state === 'right' ? paint('good', state) : state === 'wrong' ? paint('bad', state) : state;
  const told = [...problems, ...(why === undefined ? [] : [`not used: ${why}`])].map((problem) => printable(problem));
  const place = where === undefined ? '' : `, ${printable(where)}`;
  return `${shorten(layer)}  ${painted}${place}${told.length === 0 ? '' : `: ${told.join('; ')}`}\n`;
}
