import { defaults } from '../config/load.ts';
import { LazypullError } from '../errors.ts';
import type { ImageFile } from '../image-reader/image-tree.ts';
import type { Platform } from '../images/platforms.ts';
import { resolveImage } from '../images/resolve.ts';
import type { Reference } from '../registry/reference.ts';
import type { Environment } from './environment.ts';
import { write } from './output.ts';
import { openPlainLayers } from './index-finder.ts';
import { imageArgument, openRegistry, platformOption } from './registry.ts';
import { CliCommand } from './command.ts';

interface Options {
  config?: string;
  platform?: Platform;
}

/** `lazypull cat IMAGE PATH`: the bytes of a file of an image, without pulling it. */
export function catCommand({ env }: Environment): CliCommand {
  return new CliCommand('cat')
    .description('Print a file of an image in a registry, without pulling it: no daemon is needed')
    .argument('<image>', 'image as Docker writes it', imageArgument)
    .argument('<path>', 'path in the image; symlinks are followed inside it')
    .addOption(platformOption())
    .option('--config <file>', `config.toml with mirrors (default: ${defaults.config}, which may be missing)`)
    .explain(
      `It fetches only the tables of contents of layers that are eStargz and the parts of the file, and verifies them
before it prints them. A layer of another kind is read by its index: that of this machine, or of the repository in
[index] of the config file. If there is none, all of the layer is read once.`,
      [
        'lazypull cat registry.example/app:1 /etc/os-release',
        'lazypull cat --platform linux/arm64 registry.example/app:1 /usr/bin/app > app',
      ],
    )
    .action(async (reference: Reference, path: string, options: Options) => {
      const { openImage } = await import('../image-reader/open-image.ts');
      await using client = await openRegistry(options.config, env);
      const resolved = await resolveImage(client, reference, options.platform);
      await using plain = await openPlainLayers(client, resolved, options.config, env);
      const image = await openImage(client, resolved, plain);
      const file = image.tree.find(Buffer.from(path).toString('latin1'));
      checkPrintable(path, file);
      for await (const piece of image.read(file)) await write(process.stdout, piece);
    });
}

function checkPrintable(path: string, { isDirectory, entry }: ImageFile): void {
  if (isDirectory) {
    const advice = 'list it with "lazypull ls"';
    throw new LazypullError('FailedPrecondition', `Cannot print "${path}": it is a directory; ${advice}`);
  }
  if (entry.type !== 'reg') {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot print "${path}": it is not a regular file but a ${entry.type}`,
    );
  }
}
