import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  globSync,
  mkdirSync,
  mkdtempDisposableSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { floors } from '../../../script/floors/rooms.ts';

const root = join(import.meta.dirname, '../../..');

describe('floors', () => {
  const floorOf = new Map(floors.flatMap((rooms, floor) => rooms.map(({ name }) => [name, floor] as const)));

  it('has every room of src/, each once', () => {
    assert.deepEqual(
      readdirSync(join(root, 'src')).toSorted(),
      floors.flatMap((rooms) => rooms.map(({ name }) => name)).toSorted(),
    );
  });

  it('has no import that runs up, nor to a room beside, however it is written', () => {
    const wrong: string[] = [];
    for (const file of globSync('src/**/*.ts', { cwd: root })) {
      const room = file.split('/')[1] ?? '';
      const text = readFileSync(join(root, file), 'utf8');
      for (const [, target = ''] of text.matchAll(/(?:\bfrom |\bimport\(?|\w\()\s*'(\.[^']*\.ts)'/g)) {
        const other = join(dirname(file), target).split('/')[1] ?? '';
        if (other !== room && floorOf.has(other) && floorOf.get(other)! >= floorOf.get(room)!) {
          wrong.push(`${file} imports ${target}`);
        }
      }
    }
    assert.deepEqual(wrong, []);
  });

  it('has a door in each room: a file that begins with what the room is for, and where to begin reading', () => {
    const made = new Set(['gen', 'util']);
    const rooms = floors.flat().filter(({ name }) => !name.endsWith('.ts') && !made.has(name));
    const closed = rooms.filter(({ name }) =>
      globSync(`src/${name}/**/*.ts`, { cwd: root })
        .map((file) => readFileSync(join(root, file), 'utf8'))
        .every(
          (text) =>
            !/^(?:#!.*\n)?\/\*\*\n(?: \*.*\n)*? \*.*\bBegin (?:here|with)(?:.*\n)(?: \*.*\n)*? \*\/\n\n/.test(
              text.slice(0, 3000),
            ),
        ),
    );
    assert.deepEqual(
      closed.map(({ name }) => name),
      [],
    );
  });

  it('has no two files of one name with different meanings', () => {
    /** What many folders have, each for itself: names of a role. */
    const roles = new Set(['index.ts', 'metrics.ts', 'errors.ts', 'format.ts', 'footer.ts', 'front.ts']);
    /** Their files have the names of what they call. */
    const callers = /^src\/(cli|library|gen)\//;
    const files = globSync('src/**/*.ts', { cwd: root }).filter((file) => !callers.test(file));
    const named = Map.groupBy(files, (file) => basename(file));
    assert.deepEqual(
      [...named.values()].filter((same) => same.length > 1 && !roles.has(basename(same[0]!))),
      [],
    );
  });

  it('has no file of more than 400 lines', () => {
    const files = globSync('src/**/*.ts', { cwd: root }).filter((file) => !file.startsWith('src/gen/'));
    assert.deepEqual(
      files.filter((file) => readFileSync(join(root, file), 'utf8').split('\n').length > 401),
      [],
    );
  });

  it('makes a linter refuse what a room may not import', () => {
    using directory = mkdtempDisposableSync(join(tmpdir(), 'lazypull-floors-'));
    copyFileSync(join(root, '.oxlintrc.json'), join(directory.path, '.oxlintrc.json'));
    const refused = (file: string, imports: readonly string[]): string[] => {
      const path = join(directory.path, file);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, imports.map((name, i) => `import * as x${i} from '${name}';\nx${i}.use();\n`).join(''));
      const { stdout } = spawnSync(join(root, 'node_modules/.bin/oxlint'), ['--format', 'unix', file], {
        cwd: directory.path,
        encoding: 'utf8',
      });
      return [...stdout.matchAll(/'(\S+)' import is restricted/g)].map(([, name = '']) => name);
    };
    const pure = ['./x.ts', '../errors.ts', '../util/rate.ts', '../registry/blob/blob.ts', 'node:zlib'];
    const impure = [
      '../registry/client.ts',
      '../layers/layer.ts',
      '../log.ts',
      'node:fs',
      'node:fs/promises',
      'undici',
    ];
    assert.deepEqual(refused('src/formats/format.ts', [...pure, ...impure]), impure);
    assert.deepEqual(
      refused('src/registry/auth/token.ts', ['../../registry.ts', '../http/retry.ts', 'undici', 'node:child_process']),
      ['../../registry.ts', 'node:child_process'],
    );
    assert.deepEqual(refused('src/registry/auth/credentials/helpers.ts', ['node:child_process']), []);
    const imports = ['@grpc/grpc-js', '../../gen/x.ts', '../../config/load.ts'];
    assert.deepEqual(refused('src/layers/fetch/fetcher.ts', imports), imports);
  });
});
