import { writeFileSync } from 'node:fs';
import { type Digest, sha256 } from '../../chunks/digest.ts';
import { codeOf, messageOf } from '../../errors.ts';
import { LayerIndexWriter, type WholeLayer } from '../../formats/layer-index-file/encode.ts';
import type { LayerIndex } from '../../formats/layer-index.ts';
import type { Checkpoint, Compression } from '../../formats/blob-spans.ts';

/** A written index, or why the layer has none. The layer is complete in either case. */
export type MadeIndex =
  | { readonly digest: Digest; readonly bytes: number; readonly codecData: SharedArrayBuffer }
  | { readonly problem: string };

/** The layer index of a blob, made while the blob is pulled. */
export class IndexFile {
  readonly #path: string;
  readonly #writer: LayerIndexWriter;

  constructor(path: string, compression: Compression) {
    this.#path = path;
    this.#writer = new LayerIndexWriter(compression);
  }

  /** Adds a checkpoint, the next one of the blob. */
  add(checkpoint: Checkpoint): void {
    this.#writer.span(checkpoint);
  }

  /** Writes the file. @throws errors of the file system */
  write(layer: WholeLayer, content: LayerIndex): MadeIndex {
    let bytes: Buffer;
    try {
      bytes = this.#writer.finish(layer, content);
    } catch (error) {
      if (!expected.has(codeOf(error))) throw error;
      return { problem: messageOf(error) };
    }
    writeFileSync(this.#path, bytes, { mode: 0o600, flag: 'wx' });
    const { buffer: codecData } = this.#writer.spanTable(layer.dataEnd);
    return { digest: sha256(bytes), bytes: bytes.length, codecData };
  }
}

/** What no reader of an index takes. */
const expected = new Set(['ResourceExhausted']);
