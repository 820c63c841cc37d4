import type { Progress } from './progress.ts';

/**
 * Aborts at the first ctrl-C, SIGTERM or hang-up, or when nobody reads the output; further ones change nothing, as the
 * clean-up is under way.
 */
export function interruption(progress: Progress): AbortController {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!controller.signal.aborted) progress.say('\nInterrupted: cleaning up');
      controller.abort();
    });
  }
  process.stdout.on('error', () => controller.abort());
  return controller;
}
