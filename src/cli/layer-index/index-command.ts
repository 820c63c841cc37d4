import type { Reference } from '../../registry/reference.ts';
import type { Environment } from '../environment.ts';
import { CliCommand } from '../command.ts';
import { imageArgument } from '../registry.ts';
import { UsageError } from '../usage-error.ts';
import { signOption } from './keys.ts';
import { addList, addPrune } from './list.ts';
import { appendPlatform, makeIndexes, type MakeOptions } from './make.ts';
import { storeOptions } from './index-places.ts';
import { addShow } from './show.ts';
import { addExport, addImport } from './transfer.ts';
import { addVerify } from './verify.ts';

/** `lazypull index`: layer indexes, by which unmodified images are lazy. */
export function indexCommand(environment: Environment): CliCommand {
  const index = new CliCommand('index')
    .enablePositionalOptions()
    .description(
      'Make the layer indexes of an image, so that it is lazy without conversion; or show, move and verify indexes',
    )
    .argument('[image]', 'image as Docker writes it', imageArgument)
    .option('--push', 'push them to index.repository of the config file')
    .option('--repository <name>', 'push them to this repository instead')
    .option('--attach', 'attach them to the image, in its own repository')
    .option('-o, --output <file>', 'write them into this file, for "lazypull index import"; "-" for standard output')
    .addOption(signOption())
    .option('--force', 'make indexes even if they exist')
    .option('--platform <os/arch>', 'platform of the image (repeatable; default: that of this machine)', appendPlatform)
    .option('--temp-dir <dir>', "directory for unpacked data during the work (default: the system's)");
  storeOptions(index)
    .explain(
      `It reads, verifies and unpacks each layer once, as a pull does. Without --push, --attach and --output, it keeps the indexes on this machine, for its daemon.

The exit code is 3 if a layer can have no index. Layers that are eStargz need none.`,
      [
        'lazypull index docker.io/library/python:3.13 --push',
        'lazypull index registry.example/app:1 --sign key.pem --output indexes.tar',
      ],
    )
    .action(async (reference: Reference | undefined, options: MakeOptions) => {
      if (reference === undefined)
        throw new UsageError('InvalidArgument', 'Cannot make an index: name an image, or a command such as ls');
      await makeIndexes(reference, options, environment);
    });
  addList(index, environment);
  addShow(index, environment);
  addVerify(index, environment);
  addExport(index, environment);
  addImport(index, environment);
  addPrune(index, environment);
  return index;
}
