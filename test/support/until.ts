import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';

const lookMs = 10;
const retryMs = 100;

/**
 * Waits until `look` gives something other than undefined and false, and returns that. Fails after `maxMs`, which only
 * a broken program needs.
 *
 * @param problem what to say then; by default the source of `look`
 */
export async function until<T>(
  look: () => T | Promise<T>,
  problem: string | (() => string) = look.toString(),
  maxMs = 20_000,
): Promise<Exclude<T, undefined | false>> {
  for (const end = performance.now() + maxMs; ; await delay(lookMs)) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen as Exclude<T, undefined | false>;
    if (performance.now() > end) break;
  }
  assert.fail(`Not so after ${maxMs / 1000} s: ${typeof problem === 'string' ? problem : problem()}`);
}

/** The result of `action`, which is tried again for up to `maxMs` after each error that `isPassing` accepts. */
export async function retried<T>(
  action: () => Promise<T>,
  isPassing: (error: unknown) => boolean,
  maxMs = 20_000,
): Promise<T> {
  for (const end = performance.now() + maxMs; ; await delay(retryMs)) {
    try {
      return await action();
    } catch (error) {
      if (performance.now() > end || !isPassing(error)) throw error;
    }
  }
}
