import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { layerCount } from '../images.ts';
import { build, makeContext } from './context.ts';
import type { Scenario, Work } from './work.ts';

const hello: Work = { id: 'h', title: '`RUN python3 -c \'print("hello")\'` on the unmodified base' };
const tarExport: Work = { id: 'h-export', title: 'tar export after (h)' };
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
  subjects: ['full', 'lazypull', 'lazypull-index'],
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

/** The work (f) on such an image. */
export const unmodifiedLayers: Scenario = {
  works: [layers],
  onBuildkit: true,
  overLink: true,
  subjects: ['full', 'lazypull', 'lazypull-index'],
  setOf: ({ plainLayers }) => plainLayers,
  async run(cell) {
    const context = await makeContext(cell, { Dockerfile: readLayers });
    await cell.measure(layers, () => build(cell, context, cell.set.images[0], { expected: '[0-9a-f]{64}  -' }));
  },
};
