import { defaults } from '../config/load.ts';
import type { EntryType } from '../formats/layer-index.ts';
import type { ImageFile, ImageTree } from '../image-reader/image-tree.ts';
import type { Platform } from '../images/platforms.ts';
import { resolveImage } from '../images/resolve.ts';
import type { Reference } from '../registry/reference.ts';
import { jsonLine, printable } from '../util/printable.ts';
import { table } from './value-text.ts';
import type { Environment } from './environment.ts';
import { write } from './output.ts';
import { openPlainLayers } from './index-finder.ts';
import { imageArgument, openRegistry, platformOption } from './registry.ts';
import { CliCommand } from './command.ts';

interface Options {
  config?: string;
  platform?: Platform;
  json?: boolean;
  recursive?: boolean;
}

/** `lazypull ls IMAGE [PATH]`: lists what is in an image, without pulling it. */
export function lsCommand({ env }: Environment): CliCommand {
  return new CliCommand('ls')
    .description('List a directory or a file of an image in a registry, without pulling it: no daemon is needed')
    .argument('<image>', 'image as Docker writes it', imageArgument)
    .argument('[path]', 'path in the image; symlinks are followed inside it', '/')
    .option('-R, --recursive', 'list what is in the directories too')
    .addOption(platformOption())
    .option('--config <file>', `config.toml with mirrors (default: ${defaults.config}, which may be missing)`)
    .option('--json', 'print JSON, one object for each file')
    .explain(
      `It fetches only the tables of contents of layers that are eStargz. A layer of another kind is read by its index:
that of this machine, or of the repository in [index] of the config file. If there is none, all of the layer is read
once. Times are UTC.`,
      [
        'lazypull ls registry.example/app:1 /usr/bin',
        'lazypull ls -R --json registry.example/app:1 /etc | jq -r .path',
      ],
    )
    .action(async (reference: Reference, path: string, options: Options) => {
      const { openImage } = await import('../image-reader/open-image.ts');
      await using client = await openRegistry(options.config, env);
      const image = await resolveImage(client, reference, options.platform);
      await using plain = await openPlainLayers(client, image, options.config, env);
      const { tree } = await openImage(client, image, plain);
      const top = tree.find(Buffer.from(path).toString('latin1'));
      const digests = image.manifest.layers.map(({ digest }) => digest);
      for (const { directory, files } of listings(tree, top, options.recursive === true)) {
        if (options.json === true) await write(process.stdout, jsonLines(files, digests));
        else await write(process.stdout, listingText(files, options.recursive === true ? directory : undefined));
      }
    });
}

interface Listing {
  /** The directory that is listed; undefined if a single file is listed. */
  readonly directory: ImageFile | undefined;
  readonly files: readonly ImageFile[];
}

/** The file itself, or the files in the directory, and in the directories below it if `recursive`. */
function* listings(tree: ImageTree, top: ImageFile, recursive: boolean): Generator<Listing> {
  if (!top.isDirectory) {
    yield { directory: undefined, files: [top] };
    return;
  }
  for (const todo = [top]; todo.length > 0; ) {
    const directory = todo.pop()!;
    const files = tree.list(directory);
    yield { directory, files };
    if (recursive) todo.push(...files.filter(({ isDirectory }) => isDirectory).toReversed());
  }
}

/** Files as `ls -l` shows them, below the name of the directory if it is given. */
export function listingText(files: readonly ImageFile[], directory?: ImageFile): string {
  const rows = files.map(({ path, entry, links }) => {
    const { type, mode, uid, gid, size, devMajor, devMinor, linkTarget, mtimeSeconds } = entry;
    const isDevice = type === 'char' || type === 'block';
    const name = text(path.slice(path.lastIndexOf('/') + 1));
    return {
      mode: modeText(type, mode),
      numbers: [links, uid, gid].map(String),
      size: isDevice ? `${devMajor}, ${devMinor}` : String(type === 'symlink' ? linkTarget.length : size),
      time: timeText(mtimeSeconds),
      name: type === 'symlink' ? `${name} -> ${text(linkTarget)}` : name,
    };
  });
  const width = (of: (row: (typeof rows)[number]) => string) =>
    rows.reduce((most, row) => Math.max(most, of(row).length), 0);
  const widths = [0, 1, 2].map((i) => width(({ numbers }) => numbers[i]!));
  const sizeWidth = width(({ size }) => size);
  const listing = table(
    rows.map(({ mode, numbers, size, time, name }) => {
      const padded = numbers.map((number, i) => number.padStart(widths[i]!));
      return [mode, ...padded, size.padStart(sizeWidth), time, name];
    }),
  );
  return directory === undefined ? listing : `/${printable(text(directory.path))}:\n${listing}\n`;
}

/** Files as JSON, one a line. A path that is not UTF-8 has a second member with its bytes. */
export function jsonLines(files: readonly ImageFile[], digests: readonly string[]): string {
  const lines = files.map(({ path, entry, links, layer }) => {
    const { type, mode, uid, gid, size, mtimeSeconds, mtimeNanoseconds, linkTarget, devMajor, devMinor } = entry;
    return {
      path: `/${text(path)}`,
      ...(isUtf8(path) ? {} : { pathBase64: Buffer.from(`/${path}`, 'latin1').toString('base64') }),
      type: type === 'reg' ? 'file' : type,
      mode: mode.toString(8).padStart(4, '0'),
      links,
      uid,
      gid,
      size,
      mtime: `${new Date(mtimeSeconds * 1000).toISOString().slice(0, -5)}.${String(mtimeNanoseconds).padStart(9, '0')}Z`,
      ...(type === 'symlink' ? { target: text(linkTarget) } : {}),
      ...(type === 'char' || type === 'block' ? { device: [devMajor, devMinor] } : {}),
      layer: digests[layer],
    };
  });
  return lines.map((line) => jsonLine(line)).join('');
}

const typeLetters: Readonly<Record<EntryType, string>> = {
  reg: '-',
  dir: 'd',
  symlink: 'l',
  hardlink: '-',
  char: 'c',
  block: 'b',
  fifo: 'p',
};

function modeText(type: EntryType, mode: number): string {
  const special = [
    { bit: 0o4000, letter: 's' },
    { bit: 0o2000, letter: 's' },
    { bit: 0o1000, letter: 't' },
  ];
  const parts = special.map(({ bit, letter }, i) => {
    const rwx = (mode >> (6 - 3 * i)) & 7;
    const mark = rwx & 1 ? letter : letter.toUpperCase();
    const last = mode & bit ? mark : rwx & 1 ? 'x' : '-';
    return `${rwx & 4 ? 'r' : '-'}${rwx & 2 ? 'w' : '-'}${last}`;
  });
  return typeLetters[type] + parts.join('');
}

function timeText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ');
}

function text(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

function isUtf8(bytes: string): boolean {
  return Buffer.from(text(bytes)).toString('latin1') === bytes;
}
