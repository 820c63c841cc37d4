import { SnapshotsClient } from '../../test/support/snapshots-client.ts';
import { layerCount } from '../images.ts';
import { build, makeContext } from './context.ts';
import type { Scenario, Work } from './work.ts';

const built: Work = { id: 'f', title: `an image of ${layerCount} layers of 1 MB each` };
const mounted: Work = { id: 'f-mount', title: `only having its ${layerCount} layers mounted` };

const dockerfile = `ARG BASE
FROM \${BASE}
RUN cat /data/layer-*/file-0 | sha256sum
`;

/** A build that reads one file of each of many layers. */
export const layersBuilt: Scenario = {
  works: [built],
  onBuildkit: true,
  overLink: true,
  subjects: ['full', 'lazypull', 'lazypull-warm', 'stargz'],
  setOf: ({ layers }) => layers,
  async run(cell) {
    const context = await makeContext(cell, { Dockerfile: dockerfile });
    await cell.measure(built, () => build(cell, context, cell.set.images[0], { expected: '[0-9a-f]{64}  -' }));
  },
};

/** What of that is the snapshotter's: Prepare of each layer, one after the other, as clients do. */
export const layersMounted: Scenario = {
  works: [mounted],
  onBuildkit: false,
  overLink: true,
  subjects: ['lazypull', 'stargz'],
  setOf: ({ layers }) => layers,
  async run(cell) {
    const [image] = cell.set.images;
    if (image === undefined || cell.snapshotter === undefined) throw new Error('There is nothing to mount');
    using client = new SnapshotsClient(cell.snapshotter.socket);
    await cell.measure(mounted, async () => {
      await client.prepareImage('layers', `${cell.link.host}/${image.name}`, image.layers);
    });
  },
};
