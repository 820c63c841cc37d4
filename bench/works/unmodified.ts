import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { largeLayerCount, layerCount } from '../images.ts';
import { compileFiles } from './compile.ts';
import { build, makeContext } from './context.ts';
import type { Scenario, Work } from './work.ts';

const hello: Work = { id: 'h', title: '`RUN python3 -c \'print("hello")\'` on the unmodified base' };
const tarExport: Work = { id: 'h-export', title: 'tar export after (h)' };
const compiled: Work = { id: 'h-compile', title: '`RUN g++` of a small C++ file on the unmodified base' };
const largeLayers: Work = { id: 'h-large', title: `an unmodified image of ${largeLayerCount} layers of 30 MB each` };
const layers: Work = { id: 'h-layers', title: `an unmodified image of ${layerCount} layers of 1 MB each` };

const python = `ARG BASE
FROM \${BASE}
RUN python3 -c 'print("hello")'
`;
const readLayers = `ARG BASE
FROM \${BASE}
RUN cat /data/layer-*/file-0 | sha256sum
`;

/** The works (a) and (c) on the image as its publisher made it: plain gzip. */
export const unmodified: Scenario = {
  works: [hello, tarExport],
  onBuildkit: true,
  overLink: true,
  subjects: ['full', 'lazypull', 'lazypull-index', 'lazypull-team'],
  setOf: ({ plainBase }) => plainBase,
  async run(cell) {
    const [image] = cell.set.images;
    const context = await makeContext(cell, { Dockerfile: python });
    await cell.measure(hello, () => build(cell, context, image, { expected: 'hello' }));
    if (!cell.wants(tarExport)) return;
    const tar = join(cell.directory, 'export.tar');
    await cell.measure(tarExport, () => build(cell, context, image, { output: `type=tar,dest=${tar}` }));
    await rm(tar);
  },
};

/** The work (b) on that image. */
export const unmodifiedCompile: Scenario = {
  works: [compiled],
  onBuildkit: true,
  overLink: true,
  subjects: ['full', 'lazypull', 'lazypull-index', 'lazypull-team'],
  setOf: ({ plainBase }) => plainBase,
  async run(cell) {
    const context = await makeContext(cell, compileFiles);
    await cell.measure(compiled, () => build(cell, context, cell.set.images[0], { expected: 'hello5world5' }));
  },
};

/** The work (f) on such an image. */
export const unmodifiedLayers = ofLayers(layers, ({ plainLayers }) => plainLayers);

/** The same with few large layers. */
export const unmodifiedLarge = ofLayers(largeLayers, ({ plainLarge }) => plainLarge);

function ofLayers(work: Work, setOf: Scenario['setOf']): Scenario {
  return {
    works: [work],
    onBuildkit: true,
    overLink: true,
    subjects: ['full', 'lazypull', 'lazypull-index', 'lazypull-team'],
    setOf,
    async run(cell) {
      const context = await makeContext(cell, { Dockerfile: readLayers });
      await cell.measure(work, () => build(cell, context, cell.set.images[0], { expected: '[0-9a-f]{64}  -' }));
    },
  };
}
