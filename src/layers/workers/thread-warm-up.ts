import { setImmediate } from 'node:timers/promises';
import { practiceIndex, practiceRun } from '../../formats/practice.ts';
import type { Front } from '../../fronts/front.ts';
import { planLayer } from '../plan/layer-plan.ts';

/** Enough rounds for the engine to compile what is called for every file; each takes some tens of milliseconds. */
const rounds = 6;

/**
 * Plans a synthetic layer a few times and throws it away. JavaScript runs several times faster once the engine has seen
 * it run; without this the first layer, which a build waits for, would pay for that.
 *
 * @param front that lays it out
 * @param goesOn called before each round: false ends the warm-up
 */
export async function warmUpPlanning(front: Front, goesOn: () => boolean): Promise<void> {
  const { format, raw, wanted } = practiceIndex();
  for (let round = 0; round < rounds && goesOn(); round++) {
    try {
      planLayer(format, raw, wanted, front);
    } catch {
      return; // not every front shows all that the made-up layer has
    }
    await setImmediate();
  }
}

/**
 * Unpacks and verifies a synthetic file a few times, for the same reason.
 *
 * @param goesOn called after each round: false ends the warm-up
 */
export async function warmUpUnpacking(goesOn: () => boolean): Promise<void> {
  const { format, ...run } = practiceRun();
  for await (const checked of format.codec.unpack(run)) {
    if ('error' in checked) throw checked.error;
    if (!goesOn()) return;
  }
}
