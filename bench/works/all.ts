import { compile } from './compile.ts';
import { everything } from './everything.ts';
import { layersBuilt, layersMounted } from './layers.ts';
import { many } from './many.ts';
import { python } from './python.ts';
import { unmodified, unmodifiedCompile, unmodifiedLarge, unmodifiedLayers } from './unmodified.ts';
import { warmReads } from './warm-reads.ts';
import type { Scenario } from './work.ts';

/** In the order in which they are measured and shown. */
export const scenarios: readonly Scenario[] = [
  python,
  compile,
  everything,
  warmReads,
  layersBuilt,
  layersMounted,
  many,
  unmodified,
  unmodifiedCompile,
  unmodifiedLayers,
  unmodifiedLarge,
];
