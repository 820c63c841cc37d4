import type { Compression } from '../spans.ts';
import type { EntryType } from '../layer-index.ts';

/** How a layer index says what the blob is compressed with. */
export const compressionCodes: Readonly<Record<Compression, number>> = { none: 0, gzip: 1, zstd: 2 };

/** How it says what an entry is. */
export const typeCodes: Readonly<Record<EntryType, number>> = {
  reg: 0,
  dir: 1,
  symlink: 2,
  hardlink: 3,
  char: 4,
  block: 5,
  fifo: 6,
};

/** The name of a number; undefined for none. */
export function nameOf<Name extends string>(codes: Readonly<Record<Name, number>>, code: number): Name | undefined {
  return (Object.keys(codes) as Name[]).find((name) => codes[name] === code);
}
