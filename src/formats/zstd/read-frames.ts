import { constants, zstdDecompressSync } from 'node:zlib';
import { LazypullError } from '../../errors.ts';
import { maxSpanBytes } from '../blob-spans.ts';

/** What may be put out beyond a span, by the start of what follows. */
const slackBytes = 1 << 20;

/**
 * At least the first `wanted` bytes that zstd frames put out, or all of them if they are fewer. The end of the last
 * frame may be missing. It runs at once.
 *
 * @throws DataLoss for what is no zstd
 */
export function readFrames(bytes: Uint8Array, wanted: number): Buffer {
  const outputs: Buffer[] = [];
  let output = 0;
  for (let at = 0; at < bytes.length && output < wanted; ) {
    const { buffer, engine } = decompress(bytes.subarray(at), wanted - output);
    if (engine.bytesWritten <= 0) break;
    outputs.push(buffer);
    output += buffer.length;
    at += engine.bytesWritten;
  }
  return outputs.length === 1 ? outputs[0]! : Buffer.concat(outputs);
}

/** Reads one frame; Node's decoder passes over what follows it. */
function decompress(bytes: Uint8Array, wanted: number): { buffer: Buffer; engine: { bytesWritten: number } } {
  const options = {
    finishFlush: constants.ZSTD_e_flush,
    maxOutputLength: maxSpanBytes + slackBytes,
    chunkSize: Math.max(4096, wanted + 2048),
    info: true,
  };
  try {
    // The types of Node do not know what `info` does to the result.
    return zstdDecompressSync(bytes, options) as unknown as ReturnType<typeof decompress>;
  } catch (cause) {
    throw new LazypullError('DataLoss', 'The span cannot be decompressed', { cause });
  }
}
