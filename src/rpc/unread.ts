import { constants, type ServerHttp2Stream } from 'node:http2';
import { BufferPressure } from '../util/buffer-pressure.ts';

/** Bytes of answers that clients have not taken. Each byte is held several times. */
const maxUnreadBytes = 64 << 20;

/** Smaller answers are not counted: they fit into a connection's window, or nearly so. */
const smallBytes = 256 << 10;

/**
 * Bounds the memory of answers to calls that do not stream: the client that has left an answer unread for longest loses
 * it.
 */
export class UnreadAnswers {
  readonly #maxBytes: number;
  readonly #pressure = new BufferPressure();
  readonly #bytes = new Map<ServerHttp2Stream, number>();
  #sum = 0;

  constructor(maxBytes = maxUnreadBytes) {
    this.#maxBytes = maxBytes;
  }

  /** Notes how much of a call's answer its client still has to take. */
  note(call: object): void {
    const stream = streamOf(call);
    const bytes = stream?.writableLength ?? 0;
    if (stream === undefined || stream.destroyed || bytes <= smallBytes) return;
    this.#pressure.released(bytes);
    this.#bytes.set(stream, bytes);
    this.#sum += bytes;
    stream.once('close', () => this.#remove(stream));
    for (const oldest of this.#bytes.keys()) {
      if (this.#sum <= this.#maxBytes || oldest === stream) return;
      this.#remove(oldest);
      oldest.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    }
  }

  #remove(stream: ServerHttp2Stream): void {
    this.#sum -= this.#bytes.get(stream) ?? 0;
    this.#bytes.delete(stream);
  }
}

/** Ends a call without its answer, which is dropped. The client is told that it asked for too much. */
export function dropCall(call: object): void {
  streamOf(call)?.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
}

/** The bytes that were sent to the client of a call, over all its calls. */
export function bytesSent(call: object): number {
  return streamOf(call)?.session?.socket.bytesWritten ?? 0;
}

/** The stream of a call of grpc-js. grpc-js itself tells only whether it has room. */
function streamOf(call: object): ServerHttp2Stream | undefined {
  return (call as { readonly call?: { readonly stream?: ServerHttp2Stream } }).call?.stream;
}
