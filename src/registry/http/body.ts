import { errors } from 'undici';
import { answerError, networkError, RegistryError } from '../errors.ts';
import type { Tries } from './retry.ts';
import type { Answer, Counters } from './transport.ts';

/** How much of an unwanted body is read before its connection is dropped instead of kept. */
const maxDiscardedBytes = 64 * 1024;
const maxDiscardMs = 5_000;

/** The time-out of the connection comes first. */
const graceMs = 1_000;

/**
 * Yields the body of an answer as it arrives: exactly `length` bytes, or a retryable error if it is shorter, longer or
 * broken. Adds the time of waiting to `tries`. Ending the iteration early ends the request.
 */
export async function* exactly(
  answer: Answer,
  length: number,
  tries: Tries,
  counters: Counters,
  isTooSlow?: (bytes: number, waitedMs: number) => boolean,
): AsyncGenerator<Buffer, void> {
  let received = 0;
  for await (const chunk of paced(answer, tries, counters, isTooSlow)) {
    received += chunk.length;
    if (received > length) throw answerError(answer, `the body is longer than the promised ${length} bytes`);
    yield chunk;
  }
  if (received < length) throw answerError(answer, `the body ended after ${received} of ${length} bytes`);
}

/** Yields the body of an answer as it arrives; throws ResourceExhausted if it is longer than `maxBytes`. */
export async function* atMost(
  answer: Answer,
  maxBytes: number,
  tries: Tries,
  counters: Counters,
): AsyncGenerator<Buffer, void> {
  let received = 0;
  for await (const chunk of paced(answer, tries, counters)) {
    received += chunk.length;
    if (received > maxBytes)
      throw answerError(answer, `the body is longer than ${maxBytes} bytes`, 'ResourceExhausted');
    yield chunk;
  }
}

/** The whole body, up to `maxBytes`; throws ResourceExhausted if it is longer. */
export function collect(answer: Answer, maxBytes: number, tries: Tries, counters: Counters): Promise<Buffer> {
  return concat(atMost(answer, maxBytes, tries, counters));
}

/** All chunks in one buffer; `onChunk` is called for each. */
export async function concat(chunks: AsyncIterable<Buffer>, onChunk = (): void => {}): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) {
    parts.push(chunk);
    onChunk();
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** Releases an unwanted body: reads the little that is left so that the connection can be used again, else drops it. */
export function discard(answer: Answer): void {
  const giveUp = setTimeout(() => answer.body.destroy(), maxDiscardMs).unref();
  const done = (): void => clearTimeout(giveUp);
  answer.body.dump({ limit: maxDiscardedBytes }).then(done, done);
}

/**
 * The chunks of a body until it ends. Errors become retryable RegistryErrors. If the wait is too long for the number of
 * bytes, it throws an error that is not retryable. `isTooSlow` decides whether so many bytes in so much time are a
 * retryable error.
 */
export async function* paced(
  answer: Answer,
  tries: Tries,
  counters: Counters,
  isTooSlow: (bytes: number, waitedMs: number) => boolean = () => false,
): AsyncGenerator<Buffer, void> {
  const iterator = answer.body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let bytes = 0;
  let waitedMs = 0;
  let timer: NodeJS.Timeout | undefined;
  try {
    for (;;) {
      const startedMs = performance.now();
      timer = watch(answer, tries);
      const next = await iterator.next();
      clearTimeout(timer);
      const ms = performance.now() - startedMs;
      tries.spent(ms);
      waitedMs += ms;
      if (next.done) return;
      if (tries.exhausted) throw tooSlow(answer);
      bytes += next.value.length;
      counters.bytes += next.value.length;
      yield next.value;
      if (isTooSlow(bytes, waitedMs)) throw answerError(answer, 'the answer comes too slowly');
    }
  } catch (error) {
    throw error instanceof RegistryError ? error : networkError(answer, error);
  } finally {
    clearTimeout(timer);
    answer.body.destroy();
  }
}

/**
 * Ends a body of which nothing comes in time. The time-out of the connection does not notice that if empty frames keep
 * coming.
 */
function watch(answer: Answer, tries: Tries): NodeJS.Timeout {
  const idleMs = answer.bodyIdleMs + Math.min(answer.bodyIdleMs, graceMs);
  const leftMs = Math.max(tries.leftMs, 0) + 1;
  return setTimeout(
    () => answer.body.destroy(leftMs < idleMs ? tooSlow(answer) : new errors.BodyTimeoutError()),
    Math.min(leftMs, idleMs),
  );
}

function tooSlow(answer: Answer): RegistryError {
  return new RegistryError('DeadlineExceeded', answerError(answer, 'the answer comes too slowly').message);
}
