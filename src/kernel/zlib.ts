import koffi from 'koffi';
import { LazypullError } from '../errors.ts';
import { Address } from './socket-address.ts';

/** A zlib whose functions can be called (zlib.h of zlib 1.2.8 and later; zlib-ng has the same). */
export interface Zlib {
  /** Node exports its own; builds of distributions may use a shared library. */
  readonly origin: 'node' | 'libz.so.1';
  readonly version: string;
  inflater(): RawInflate;
}

/** The zlib of this process, else that of the machine; undefined if neither can be used. */
export function openZlib(): Zlib | undefined {
  opened ??= { zlib: loadZlib('node') ?? loadZlib('libz.so.1') };
  return opened.zlib;
}

let opened: { zlib: Zlib | undefined } | undefined;

/** struct z_stream on machines with 64-bit pointers and longs. */
const streamBytes = 112;
const place = { nextIn: 0, availIn: 8, nextOut: 24, availOut: 32, message: 48, dataType: 88 };

const Z_NO_FLUSH = 0;
const Z_BLOCK = 5;
const Z_OK = 0;
const Z_STREAM_END = 1;
const Z_MEM_ERROR = -4;
const Z_BUF_ERROR = -5;

/** Bits of `data_type` after inflate() with Z_BLOCK. */
const unusedBitsMask = 7;
const lastBlock = 64;
const blockEnded = 128;

/** Negative: raw deflate without header and trailer. */
const rawWindowBits = -15;
const windowBytes = 32 << 10;

interface Functions {
  readonly version: string;
  readonly init: (stream: Buffer, windowBits: number, version: string, bytes: number) => number;
  readonly inflate: (stream: Buffer, flush: number) => number;
  readonly prime: (stream: Buffer, bits: number, value: number) => number;
  readonly setDictionary: (stream: Buffer, window: Uint8Array, bytes: number) => number;
  readonly getDictionary: (stream: Buffer, window: Buffer, bytes: Buffer) => number;
  readonly reset: (stream: Buffer) => number;
  readonly end: (stream: Buffer) => number;
}

/** The zlib of one origin; undefined if it does not exist, or lacks a function. */
export function loadZlib(origin: Zlib['origin']): Zlib | undefined {
  if (koffi.sizeof('void *') !== 8 || koffi.sizeof('long') !== 8) return undefined;
  try {
    // Bound to itself. Otherwise it would call functions of the zlib that Node exports, which has other structures.
    const library = origin === 'node' ? koffi.load(null) : koffi.load(origin, { deep: true });
    const functions: Functions = {
      version: String(library.func('const char *zlibVersion()')()),
      init: library.func('int inflateInit2_(void *stream, int windowBits, const char *version, int bytes)'),
      inflate: library.func('int inflate(void *stream, int flush)'),
      prime: library.func('int inflatePrime(void *stream, int bits, int value)'),
      setDictionary: library.func('int inflateSetDictionary(void *stream, const void *window, unsigned int bytes)'),
      getDictionary: library.func('int inflateGetDictionary(void *stream, void *window, void *bytes)'),
      reset: library.func('int inflateReset(void *stream)'),
      end: library.func('int inflateEnd(void *stream)'),
    };
    new RawInflate(functions)[Symbol.dispose]();
    return { origin, version: functions.version, inflater: () => new RawInflate(functions) };
  } catch {
    return undefined;
  }
}

/** A decoder of raw deflate, as `Inflater` of formats/. It holds some 40 KB until it is disposed of. */
export class RawInflate implements Disposable {
  readonly #functions: Functions;
  /** zlib remembers the address of its stream, so the garbage collector must not move this memory. */
  readonly #stream = Buffer.allocUnsafeSlow(streamBytes).fill(0);
  readonly #view = new DataView(this.#stream.buffer, this.#stream.byteOffset, streamBytes);
  #isOpen = false;
  /** Addresses of the last buffers. */
  readonly #input = new Address();
  readonly #output = new Address();

  constructor(functions: Functions) {
    this.#functions = functions;
    const result = functions.init(this.#stream, rawWindowBits, functions.version, streamBytes);
    if (result !== Z_OK) throw new LazypullError('ResourceExhausted', `Cannot start zlib: it returned ${result}`);
    this.#isOpen = true;
  }

  another(): RawInflate {
    return new RawInflate(this.#functions);
  }

  reset(): void {
    this.#check(this.#functions.reset(this.#open()));
  }

  prime(bits: number, value: number): void {
    this.#check(this.#functions.prime(this.#open(), bits, value));
  }

  setWindow(window: Uint8Array): void {
    this.#check(this.#functions.setDictionary(this.#open(), window, window.length));
  }

  window(): Buffer {
    const window = Buffer.from(new SharedArrayBuffer(windowBytes));
    const length = Buffer.alloc(4);
    this.#check(this.#functions.getDictionary(this.#open(), window, length));
    return window.subarray(0, length.readUInt32LE());
  }

  /** See `Inflater`. Bytes in output[from, until) after the produced ones may be overwritten. */
  step(
    input: Uint8Array,
    at: number,
    output: Uint8Array,
    from: number,
    until: number,
    stopAtBlocks: boolean,
  ): { consumed: number; produced: number; stop: 'room' | 'block' | 'end'; unusedBits: number } {
    const stream = this.#open();
    const inputBytes = Math.max(0, input.length - at);
    const outputBytes = Math.max(0, Math.min(until, output.length) - from);
    this.#set(place.nextIn, this.#input.of(input) + at);
    this.#set(place.nextOut, this.#output.of(output) + from);
    this.#view.setUint32(place.availIn, inputBytes, true);
    this.#view.setUint32(place.availOut, outputBytes, true);
    let result = this.#functions.inflate(stream, stopAtBlocks ? Z_BLOCK : Z_NO_FLUSH);
    // At the end of the last block zlib stops once more before it reports the end.
    if (result === Z_OK && this.#isAfterLastBlock()) result = this.#functions.inflate(stream, Z_NO_FLUSH);
    if (result !== Z_STREAM_END && result !== Z_BUF_ERROR) this.#check(result);
    const dataType = this.#view.getInt32(place.dataType, true);
    const isBlockEnd = stopAtBlocks && (dataType & (blockEnded | lastBlock)) === blockEnded;
    return {
      consumed: inputBytes - this.#view.getUint32(place.availIn, true),
      produced: outputBytes - this.#view.getUint32(place.availOut, true),
      stop: result === Z_STREAM_END ? 'end' : isBlockEnd ? 'block' : 'room',
      unusedBits: dataType & unusedBitsMask,
    };
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#functions.end(this.#stream);
  }

  #open(): Buffer {
    if (!this.#isOpen) throw new LazypullError('FailedPrecondition', 'The zlib stream is closed');
    return this.#stream;
  }

  #isAfterLastBlock(): boolean {
    const both = blockEnded | lastBlock;
    return (this.#view.getInt32(place.dataType, true) & both) === both;
  }

  #set(at: number, address: number): void {
    this.#view.setUint32(at, address % 2 ** 32, true);
    this.#view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
  }

  #check(result: number): void {
    if (result === Z_OK) return;
    if (result === Z_MEM_ERROR) throw new LazypullError('ResourceExhausted', 'There is not enough memory to inflate');
    const message = this.#view.getBigUint64(place.message, true);
    const text: unknown = message === 0n ? `zlib says ${result}` : koffi.decode(message, 'char', -1);
    throw new LazypullError('DataLoss', `The deflate data is damaged: ${String(text)}`);
  }
}
