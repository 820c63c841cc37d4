import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { Lab } from './lab.ts';
import { run } from './program.ts';
import { describeTar } from './tree.ts';

/**
 * Of the files of a context: a tar has whole seconds, rounded up or down, so that what has just been written could pass
 * for what the build writes.
 */
const contextTime = '@1600000000';

/**
 * The tar that a build of a context exports, as lines, on a base of so many layers that is lazy or that was pulled. The
 * times of what the build wrote are left out, and that of a file which containerd unpacks as of 1970.
 */
export async function exportedTree(
  lab: Lab,
  name: string,
  lazy: boolean,
  context: string,
  base: string,
  layers: number,
): Promise<string[]> {
  await run('find', [context, '-exec', 'touch', `--date=${contextTime}`, '{}', '+']);
  const started = Math.floor(Date.now() / 1000);
  const tar = join(lab.workspace.path, `${name}.tar`);
  await using builder = await lab.builder(name, 'oci', lazy);
  await builder.buildkitd.build({
    context,
    buildArgs: { BASE: lab.reference(base) },
    output: `type=tar,dest=${tar}`,
  });
  assert.deepEqual(
    builder.daemon?.log().flatMap((line) => line['remote-snapshot-prepared'] ?? []),
    lazy ? Array.from({ length: layers }, () => 'true') : undefined,
  );
  const lines = await describeTar(tar, lab.workspace.path);
  const changing = /^(meta .* )(-?\d+)\.\d+( ?)/s;
  return lines.map((line) =>
    line.replace(changing, (all, head, seconds, rest) =>
      Number(seconds) < started && !line.startsWith('meta ./data/kinds/old\t') ? all : `${head}changed${rest}`,
    ),
  );
}
