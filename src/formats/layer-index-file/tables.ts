import type { Compression } from '../blob-spans.ts';
import type { EntryType } from '../layer-index.ts';

/** The codes of compressions in a layer index. */
export const compressionCodes: Readonly<Record<Compression, number>> = { none: 0, gzip: 1, zstd: 2 };

/** The codes of types of entries. */
export const typeCodes: Readonly<Record<EntryType, number>> = {
  reg: 0,
  dir: 1,
  symlink: 2,
  hardlink: 3,
  char: 4,
  block: 5,
  fifo: 6,
};

/** The name of a code; undefined if there is none. */
export function nameOf<Name extends string>(codes: Readonly<Record<Name, number>>, code: number): Name | undefined {
  return (Object.keys(codes) as Name[]).find((name) => codes[name] === code);
}
