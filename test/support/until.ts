import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';

const lookMs = 10;

/**
 * Waits for something that takes a moment, and fails if it is not so after `maxMs`, which only a broken program needs.
 */
export async function until(what: () => boolean | Promise<boolean>, maxMs = 20_000): Promise<void> {
  for (const end = performance.now() + maxMs; performance.now() < end; await delay(lookMs)) {
    if (await what()) return;
  }
  assert.ok(await what(), `Not so after ${maxMs / 1000} s: ${what.toString()}`);
}
