import koffi from 'koffi';
import { LazypullError } from '../errors.ts';
import { Address } from './socket-address.ts';

/** The zstd that Node exports. */
export interface Zstd {
  readonly version: string;
  decoder(): ZstdDecoder;
}

/**
 * The zstd of this process; undefined if its functions cannot be called, as in builds of distributions that have it
 * in a library beside.
 */
export function openZstd(): Zstd | undefined {
  opened ??= { zstd: loadZstd() };
  return opened.zstd;
}

let opened: { zstd: Zstd | undefined } | undefined;

/**
 * struct ZSTD_inBuffer and ZSTD_outBuffer (zstd.h) if pointers have 64 bits: where, how many bytes, how many of them
 * are done.
 */
const bufferBytes = 24;
const place = { data: 0, size: 8, position: 16 };

interface Functions {
  readonly create: () => unknown;
  readonly free: (decoder: unknown) => number;
  readonly decompress: (decoder: unknown, output: Buffer, input: Buffer) => number | bigint;
  readonly isError: (result: number | bigint) => number;
  readonly errorName: (result: number | bigint) => string;
}

function loadZstd(): Zstd | undefined {
  if (koffi.sizeof('void *') !== 8) return undefined;
  try {
    const library = koffi.load(null);
    const functions: Functions = {
      create: library.func('void *ZSTD_createDCtx()'),
      free: library.func('size_t ZSTD_freeDCtx(void *decoder)'),
      decompress: library.func('size_t ZSTD_decompressStream(void *decoder, void *output, void *input)'),
      isError: library.func('unsigned int ZSTD_isError(size_t result)'),
      errorName: library.func('const char *ZSTD_getErrorName(size_t result)'),
    };
    const version = String(library.func('const char *ZSTD_versionString()')());
    new ZstdDecoder(functions)[Symbol.dispose]();
    return { version, decoder: () => new ZstdDecoder(functions) };
  } catch {
    return undefined;
  }
}

/**
 * A decoder of zstd, as `FrameDecoder` of formats/ has it. It takes frames with windows of up to 128 MiB, and holds
 * as much until it is disposed of.
 */
export class ZstdDecoder implements Disposable {
  readonly #functions: Functions;
  #decoder: unknown;
  readonly #input = new FixedBuffer();
  readonly #output = new FixedBuffer();

  constructor(functions: Functions) {
    this.#functions = functions;
    this.#decoder = functions.create();
    if (this.#decoder === null) throw new LazypullError('ResourceExhausted', 'Cannot start zstd');
  }

  /** As `FrameDecoder` says. */
  step(
    input: Uint8Array,
    at: number,
    output: Uint8Array,
    from: number,
  ): { consumed: number; produced: number; isFrameEnd: boolean } {
    if (this.#decoder === undefined) throw new LazypullError('FailedPrecondition', 'The zstd decoder is closed');
    this.#input.set(input, at);
    this.#output.set(output, from);
    const result = this.#functions.decompress(this.#decoder, this.#output.bytes, this.#input.bytes);
    if (this.#functions.isError(result) !== 0) {
      throw new LazypullError('DataLoss', `The zstd data is damaged: ${this.#functions.errorName(result)}`);
    }
    return { consumed: this.#input.done, produced: this.#output.done, isFrameEnd: Number(result) === 0 };
  }

  [Symbol.dispose](): void {
    if (this.#decoder === undefined) return;
    this.#functions.free(this.#decoder);
    this.#decoder = undefined;
  }
}

/** A ZSTD_inBuffer or ZSTD_outBuffer. */
class FixedBuffer {
  readonly bytes = Buffer.allocUnsafeSlow(bufferBytes).fill(0);
  readonly #address = new Address();

  /** Lets it stand for all bytes of `memory` from `start` on. */
  set(memory: Uint8Array, start: number): void {
    this.bytes.writeBigUInt64LE(BigInt(this.#address.of(memory) + start), place.data);
    this.bytes.writeBigUInt64LE(BigInt(memory.length - start), place.size);
    this.bytes.writeBigUInt64LE(0n, place.position);
  }

  get done(): number {
    return Number(this.bytes.readBigUInt64LE(place.position));
  }
}
