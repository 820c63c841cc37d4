import { createReadStream, createWriteStream } from 'node:fs';
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { KeyObject } from 'node:crypto';
import { replacing } from '../../kernel/replace-file.ts';
import { isSystemError, LazypullError } from '../../errors.ts';
import { type BundledIndex, readBundle, writeBundle } from '../../indexes/bundle.ts';
import { parseRepository } from '../../indexes/index-repository.ts';
import type { IndexStore } from '../../indexes/index-store.ts';
import { IndexTrust } from '../../indexes/index-trust.ts';
import type { IndexConfig } from '../../indexes/open-layer-indexes.ts';
import { signIndex } from '../../indexes/signature.ts';
import type { Environment } from '../environment.ts';
import { shorten, sizeText } from '../value-text.ts';
import { say, write } from '../output.ts';
import type { CliCommand } from '../command.ts';
import { readKey, signOption } from './keys.ts';
import { countText, openPlace, storeOptions, type StoreOptions } from './index-places.ts';

/** `lazypull index export`: writes indexes of this machine into one file. */
export function addExport(parent: CliCommand, environment: Environment): void {
  storeOptions(parent.command('export'))
    .description('Write layer indexes of this machine into one file, for a CI cache or another machine')
    .argument('[file]', 'where to write them; "-" for standard output', '-')
    .option('--layer <digest>', 'only the index of this layer (repeatable; default: all)', append)
    .addOption(signOption())
    .explain('', [
      'lazypull index export indexes.tar',
      'lazypull index export | ssh builder lazypull index import',
      'lazypull index export --sign key.pem indexes.tar',
    ])
    .action(async (file: string, options: StoreOptions & { layer?: string[]; sign?: string }) => {
      const key = await readKey(options.sign);
      const { store, root } = await openPlace(options, environment, 'reads');
      const layers = options.layer ?? (await store.list()).map(({ layer }) => layer).sort();
      const done = { count: 0, bytes: 0 };
      await writeFileOf(file, writeBundle(indexesOf(store, layers, key, done)));
      const where = file === '-' ? '' : ` to "${file}"`;
      say(environment.name, `Exported ${countText(done.count)} of "${root}"${where}, ${sizeText(done.bytes)}`);
    });
}

/** `lazypull index import`: takes the indexes of a file over. */
export function addImport(parent: CliCommand, environment: Environment): void {
  storeOptions(parent.command('import'))
    .description(
      'Import layer indexes from a file. They replace those of the same layers, but not those that were made here',
    )
    .argument('[file]', 'what "lazypull index export" wrote; "-" for standard input', '-')
    .explain(
      'It prints how many there were to standard output. What is imported is trusted as the file is: import only what you or your CI have written. If the config file has index.trusted_keys, only what is signed with one of them will be used.',
      ['lazypull index import indexes.tar'],
    )
    .action(async (file: string, options: StoreOptions) => {
      const { store, root, config } = await openPlace(options, environment, 'changes');
      const trust = trustOf(config);
      const origin = { kind: 'imported', where: file === '-' ? 'standard input' : basename(file) } as const;
      let count = 0;
      for await (const { index, content } of readBundle(openFile(file))) {
        const before = await store.find(index.layer);
        if (before?.origin.kind === 'made') continue;
        await store.keep({ ...index, origin }, content);
        count++;
        const problem = trust.problemWith(index, origin);
        if (problem !== undefined)
          say(environment.name, `The index of ${shorten(index.layer)} will not be used: it ${problem}`);
      }
      await write(process.stdout, `${count}\n`);
      say(environment.name, `Imported ${countText(count)} into "${root}"`);
    });
}

/** Writes to a file, whole or not at all, or to standard output. */
export async function writeFileOf(file: string, content: AsyncIterable<Uint8Array>): Promise<void> {
  if (file === '-') {
    for await (const piece of content) await write(process.stdout, piece);
    return;
  }
  const next = `${file}.new`;
  try {
    await replacing(file, next, () => pipeline(Readable.from(content, { objectMode: false }), createWriteStream(next)));
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new LazypullError('Unavailable', `Cannot write "${file}"`, { cause: error });
  }
}

/** The bytes of a file, or of standard input. */
export async function* openFile(file: string): AsyncGenerator<Buffer> {
  try {
    yield* (file === '-' ? process.stdin : createReadStream(file)) as AsyncIterable<Buffer>;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new LazypullError('InvalidArgument', `Cannot read "${file}"`, { cause: error });
  }
}

/** The trust of the configuration. */
export function trustOf({ repository, referrers, trusted_keys: trustedKeys }: IndexConfig): IndexTrust {
  const name = repository === '' ? undefined : parseRepository(repository);
  return new IndexTrust({ repository: name && `${name.host}/${name.repository}`, referrers, trustedKeys });
}

async function* indexesOf(
  store: IndexStore,
  layers: readonly string[],
  key: KeyObject | undefined,
  done: { count: number; bytes: number },
): AsyncGenerator<BundledIndex> {
  for (const layer of layers) {
    const index = await store.find(layer);
    if (index === undefined)
      throw new LazypullError('NotFound', `There is no index of the layer ${layer} on this machine`);
    const signature = key === undefined ? index.signature : signIndex(index, key);
    yield {
      index: { ...index, ...(signature === undefined ? {} : { signature }) },
      content: createReadStream(index.path, { end: index.size - 1 }) as AsyncIterable<Buffer>,
    };
    done.count++;
    done.bytes += index.size;
  }
}

function append(value: string, values: string[] = []): string[] {
  return [...values, value];
}
