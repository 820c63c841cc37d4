import { manyCount } from '../images.ts';
import { build, makeContext } from './context.ts';
import type { Scenario, Work } from './work.ts';

const atOnce: Work = { id: 'g', title: `${manyCount} builds at once of different bases of 20 MB` };

const dockerfile = `ARG BASE
FROM \${BASE}
RUN cat /files/file-1? | sha256sum
`;

/** Builds of bases that share nothing, all started at once; the last one to end counts. */
export const many: Scenario = {
  works: [atOnce],
  onBuildkit: true,
  overLink: true,
  subjects: ['full', 'lazypull', 'lazypull-warm', 'stargz'],
  setOf: (images) => images.many,
  async run(cell) {
    const context = await makeContext(cell, { Dockerfile: dockerfile });
    await cell.measure(atOnce, async () => {
      const builds = cell.set.images.map((image) => build(cell, context, image, { expected: '[0-9a-f]{64}  -' }));
      const failed = (await Promise.allSettled(builds)).find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    });
  },
};
