import { readFileSync } from 'node:fs';

/**
 * A name of the time since this machine was started. What was written in that time can be read until it ends, even if
 * it was never synced.
 */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
