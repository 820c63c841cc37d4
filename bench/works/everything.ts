import { build, makeContext } from './context.ts';
import type { Scenario, Work } from './work.ts';

const readAll: Work = { id: 'd', title: '`RUN find / -xdev -type f -exec cat {} + >/dev/null`' };

const dockerfile = `ARG BASE
FROM \${BASE}
RUN find / -xdev -type f -exec cat {} + >/dev/null
`;

/** A build that reads every file of its base. */
export const everything: Scenario = {
  works: [readAll],
  onBuildkit: true,
  overLink: true,
  subjects: ['full', 'lazypull', 'lazypull-warm', 'stargz'],
  setOf: ({ base }) => base,
  async run(cell) {
    const context = await makeContext(cell, { Dockerfile: dockerfile });
    await cell.measure(readAll, () => build(cell, context, cell.set.images[0]));
  },
};
