import type { Environment } from '../environment.ts';
import { Verb } from '../command.ts';
import { addList, addPrune } from './list.ts';
import { addExport, addImport } from './transfer.ts';

/** `lazypull index`: layer indexes, by which unmodified images are lazy. */
export function indexCommand(environment: Environment): Verb {
  const index = new Verb('index').description(
    'Make, show, move and verify layer indexes, by which unmodified images are lazy',
  );
  addList(index, environment);
  addExport(index, environment);
  addImport(index, environment);
  addPrune(index, environment);
  return index;
}
