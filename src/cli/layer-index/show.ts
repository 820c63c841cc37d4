import { createWriteStream, existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { isSha256 } from '../../chunks/digest.ts';
import { LazypullError } from '../../errors.ts';
import type { LayerIndexFile } from '../../formats/layer-index-file/decode.ts';
import { readBundle } from '../../indexes/bundle.ts';
import type { IndexArtifact } from '../../indexes/artifact.ts';
import { type IndexOrigin, originText } from '../../indexes/index-origin.ts';
import { readIndexFile } from '../../indexes/index-file.ts';
import type { IndexStore } from '../../indexes/index-store.ts';
import type { Environment } from '../environment.ts';
import { sizeText } from '../value-text.ts';
import type { CliCommand } from '../command.ts';
import { openPlace, print, storeOptions, type StoreOptions } from './index-places.ts';
import { openFile, trustOf } from './transfer.ts';

/** An index with its content and its origin. */
interface Shown {
  readonly index: IndexArtifact;
  readonly content: LayerIndexFile;
  readonly origin: IndexOrigin;
  /** Why it is not used here; undefined if it is. */
  readonly problem: string | undefined;
}

/** `lazypull index show`. */
export function addShow(parent: CliCommand, environment: Environment): void {
  storeOptions(parent.command('show'))
    .description('Show what a layer index says: one of this machine, or all that are in a file')
    .argument('<layer-or-file>', 'digest of a layer or the start of it, or a file that "lazypull index export" wrote')
    .explain('', ['lazypull index show 1c862951d497', 'lazypull index show indexes.tar'])
    .action(async (what: string, options: StoreOptions) => {
      const { store, config } = await openPlace(options, environment, 'reads');
      const trust = trustOf(config);
      const shown: Shown[] = [];
      for await (const { origin, path, size, ...rest } of existsSync(what)
        ? inFile(what)
        : [await inStore(store, what)]) {
        const { index, content } = await readIndexFile(path, rest.index.layer, size);
        const whole = { ...index, ...signatureOf(rest.index) };
        shown.push({ index: whole, content, origin, problem: trust.problemWith(whole, origin) });
      }
      print(options, shown.map(rowOf), shown.map(showText).join('\n'));
    });
}

/** An index in a file: the first `size` bytes. */
export interface LyingIndex {
  readonly index: IndexArtifact;
  readonly origin: IndexOrigin;
  readonly path: string;
  readonly size: number;
}

/** The indexes of a bundle, each in a file of its own until the next one is taken. */
export async function* inFile(file: string): AsyncGenerator<LyingIndex> {
  const directory = await mkdtemp(join(tmpdir(), 'lazypull-index-'));
  try {
    const origin = { kind: 'imported', where: basename(file) } as const;
    const path = join(directory, 'index');
    for await (const { index, content } of readBundle(openFile(file))) {
      await pipeline(content, createWriteStream(path));
      yield { index, origin, path, size: index.size };
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The index of a layer in the store, by its digest or the first hex digits of it. */
export async function inStore(store: IndexStore, layer: string): Promise<LyingIndex> {
  const start = layer.replace(/^sha256:/, '');
  const listed = isSha256(layer) ? [] : (await store.list()).filter((kept) => kept.layer.startsWith(`sha256:${start}`));
  if (listed.length > 1)
    throw new LazypullError(
      'InvalidArgument',
      `"${layer}" can be one of ${listed.length} layers: give more of the digest`,
    );
  const digest = isSha256(layer) ? layer : start === '' ? undefined : listed[0]?.layer;
  const index = digest === undefined ? undefined : await store.find(digest);
  if (index === undefined) {
    throw new LazypullError(
      'NotFound',
      `There is no index of the layer "${layer}" on this machine, and no file of that name`,
    );
  }
  return { index, origin: index.origin, path: index.path, size: index.size };
}

function signatureOf({ signature }: IndexArtifact): Pick<IndexArtifact, 'signature'> {
  return signature === undefined ? {} : { signature };
}

function rowOf({ index, content, origin, problem }: Shown): object {
  const { layer, digest, size, tail, signature } = index;
  const { compression, blobBytes, tarBytes, index: table, spans } = content;
  return {
    layer,
    digest,
    bytes: size,
    tailBytes: tail.bytes,
    from: origin.kind,
    where: origin.where,
    signedBy: signature?.key,
    problem,
    compression,
    blobBytes,
    tarBytes,
    entries: table.entries.length,
    chunks: table.chunks.length,
    spans: spans.length,
  };
}

function showText({ index, content, origin, problem }: Shown): string {
  const { layer, digest, size, tail, signature } = index;
  const { compression, blobBytes, tarBytes, index: table, spans } = content;
  const share = ((100 * size) / blobBytes).toFixed(2);
  const lines: readonly (readonly [string, string])[] = [
    [
      'layer',
      `${layer}, ${compression === 'none' ? 'not compressed' : compression}, ${sizeText(blobBytes)}, ${sizeText(tarBytes)} of tar`,
    ],
    ['index', `${digest}, ${sizeText(size)} (${share} %), ${sizeText(tail.bytes)} of it for a mount`],
    [
      'has',
      `${table.entries.length} entries, ${table.chunks.length} chunks, ${spans.length} ${spans.length === 1 ? 'place' : 'places'} to read from`,
    ],
    ['from', originText(origin)],
    ['signed', signature === undefined ? 'no' : `by key ${signature.key}`],
    ['used', problem === undefined ? 'yes' : `no: it ${problem}`],
  ];
  return lines.map(([name, text]) => `${name.padEnd(8)}${text}\n`).join('');
}
