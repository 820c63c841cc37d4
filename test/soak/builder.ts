import { hash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Random } from '../fuzz/random.ts';
import { type Buildkitd, startBuildkitd } from '../support/buildkitd.ts';
import { describeTree, withoutRoot } from '../support/tree.ts';
import { WrongBytes } from './excuse.ts';
import type { App, World } from './world.ts';

/** Every build of it gives the same bytes when times are rewritten. */
const exported = `ARG BASE
FROM \${BASE} AS source
FROM \${BASE}
RUN echo hello > /hello.txt && echo more >> /data/many/file-1 && rm -r /data/many/file-3 /data/opaque && mkdir /data/opaque
COPY --from=source /data/many/file-5 /data/kinds/xattrs /copied/
`;
const epoch = '1600000000';

export const exportTypes = ['tar', 'oci', 'local'] as const;
export type ExportType = (typeof exportTypes)[number];

/** Builds with buildkitd what reads a lazy image or exports it, and compares with what is right. */
export class Builder {
  readonly #world: World;
  readonly #expected: Readonly<Record<ExportType, string>>;
  #count = 0;

  /** Has a buildkitd that pulls the base make each export once, as a measure of the others. */
  static async open(world: World): Promise<Builder> {
    const directory = join(world.workspace.path, 'pulled');
    await using buildkitd = await startBuildkitd(directory, { kind: 'oci', snapshotter: 'overlayfs' });
    const expected: Partial<Record<ExportType, string>> = {};
    for (const type of exportTypes) expected[type] = await exportWith(world, buildkitd, type, `pulled-${type}`);
    return new Builder(world, expected as Record<ExportType, string>);
  }

  private constructor(world: World, expected: Readonly<Record<ExportType, string>>) {
    this.#world = world;
    this.#expected = expected;
  }

  /** Builds a step on an image that reads some of its files, and one of another image. @returns what it did */
  async read(app: App, other: App, random: Random, files: number): Promise<string> {
    const paths = Array.from({ length: files }, () => random.pick([...app.files.keys()]));
    const copied = random.pick([...other.files.keys()]);
    const name = `read-${this.#count++}`;
    const dockerfile = [
      `FROM ${other.reference} AS other`,
      `FROM ${app.reference}`,
      `COPY --from=other /${copied} /copied`,
      `RUN cd / && sha256sum ${paths.join(' ')} copied # ${name}`,
    ];
    const context = await contextOf(this.#world, name, `${dockerfile.join('\n')}\n`);
    let output = '';
    const onLine = (line: string) => (output += `${line}\n`);
    await this.#world.buildkitd.build({ context, onLine });
    const expected = new Map([
      ...paths.map((path) => [path, app.files.get(path)!] as const),
      ['copied', other.files.get(copied)!],
    ]);
    for (const [path, content] of expected) {
      const found = [...output.matchAll(new RegExp(`([0-9a-f]{64})  ${path}$`, 'gm'))];
      if (found.length === 0) throw new Error(`The build printed no digest of ${path}:\n${output}`);
      const right = hash('sha256', content);
      if (found.some(([, digest]) => digest !== right)) {
        throw new WrongBytes(`A build read other bytes of ${path} of ${app.name} or ${other.name}:\n${output}`);
      }
    }
    return `build on ${app.name} and ${other.name}, ${paths.length} files`;
  }

  /** Exports the base with a step on it. @returns what it did */
  async export(type: ExportType): Promise<string> {
    const digest = await exportWith(this.#world, this.#world.buildkitd, type, `lazy-${this.#count++}`);
    if (digest !== this.#expected[type]) {
      throw new WrongBytes(`The export "${type}" is ${digest}, and ${this.#expected[type]} from a pulled base`);
    }
    return `export ${type}`;
  }

  /** Removes everything that was built and all that builds were made of. */
  async releaseAll(): Promise<void> {
    const { buildkitd } = this.#world;
    await buildkitd.buildctl('prune-histories');
    await buildkitd.buildctl('prune', '--all');
  }
}

/** @returns the digest of the file, or of the description of the directory */
async function exportWith(world: World, buildkitd: Buildkitd, type: ExportType, name: string): Promise<string> {
  const context = await contextOf(world, name, exported);
  const target = join(context, 'out');
  const options = type === 'oci' ? ',rewrite-timestamp=true' : '';
  try {
    await buildkitd.build({
      context,
      buildArgs: { BASE: world.base, SOURCE_DATE_EPOCH: epoch },
      output: `type=${type},dest=${target}${options}`,
    });
    return hash(
      'sha256',
      type === 'local' ? withoutRoot(await describeTree(target)).join('\0') : await readFile(target),
    );
  } finally {
    await rm(context, { recursive: true });
  }
}

async function contextOf(world: World, name: string, dockerfile: string): Promise<string> {
  const directory = join(world.workspace.path, 'contexts', name);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'Dockerfile'), dockerfile);
  return directory;
}
