import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { build, makeContext } from './context.ts';
import type { Scenario, Work } from './work.ts';

const hello: Work = { id: 'a', title: '`RUN python3 -c \'print("hello")\'`' };
const tarExport: Work = { id: 'c', title: 'tar export after (a)' };

const dockerfile = `ARG BASE
FROM \${BASE}
RUN python3 -c 'print("hello")'
`;
/** An export of a base that is hundreds of MB large cannot be smaller. */
const minTarBytes = 100e6;

/** A build that needs little of its base, and then an export of all. */
export const python: Scenario = {
  works: [hello, tarExport],
  onBuildkit: true,
  overLink: true,
  subjects: ['full', 'lazypull', 'lazypull-trace', 'lazypull-warm', 'stargz'],
  setOf: ({ base }) => base,
  async run(cell) {
    const [image] = cell.set.images;
    const context = await makeContext(cell, { Dockerfile: dockerfile });
    await cell.measure(hello, () => build(cell, context, image, { expected: 'hello' }));
    if (!cell.wants(tarExport)) return;
    const tar = join(cell.directory, 'export.tar');
    await cell.measure(tarExport, () => build(cell, context, image, { output: `type=tar,dest=${tar}` }));
    const { size } = await stat(tar);
    if (size < minTarBytes) throw new Error(`The exported tar has only ${size} bytes`);
    await rm(tar);
  },
};
