import assert from 'node:assert/strict';
import { lstatSync, readdirSync, statSync } from 'node:fs';
import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { estargzBlob, type FileSpec } from '../../support/estargz-blob.ts';
import { LayerLab } from '../../support/layer-lab.ts';
import { run } from '../../support/program.ts';

let lab: LayerLab;

before(async () => {
  lab = await LayerLab.open();
});
after(() => lab[Symbol.asyncDispose]());

function file(path: string, text: string): FileSpec {
  return { path, type: 'reg', mode: 0o644, content: Buffer.from(text) };
}

/** A layer with a directory of its own, one that all layers have, and two names of one file. */
function layer(index: number) {
  const own = `own-${index}`;
  return lab.layer(
    estargzBlob([
      { path: own, type: 'dir', mode: 0o755 },
      file(`${own}/file`, `file ${index}`),
      { path: `${own}/linked`, type: 'hardlink', linkTarget: `${own}/file` },
      { path: `${own}/deep/er`, type: 'dir', mode: 0o755 },
      { path: `${own}/symlink`, type: 'symlink', linkTarget: 'file' },
      file(`shared/file-${index}`, `shared ${index}`),
    ]),
  );
}

/** Of everything in a tree, by its path: the device and the inode number. */
function numbersOf(root: string): Map<string, string> {
  const paths = ['.', ...(readdirSync(root, { recursive: true }) as string[]).sort()];
  return new Map(
    paths.map((path) => {
      const { dev, ino } = lstatSync(join(root, path), { bigint: true });
      return [path, `${dev}:${ino}`];
    }),
  );
}

for (const layers of [1, 2, 12, 60]) {
  for (const kind of layers === 1 ? ['writable'] : ['writable', 'read-only']) {
    test(`A ${kind} tree of ${layers} lazy layers is one file system, whose inode numbers stay`, async () => {
      const image = await lab.prepare(Array.from({ length: layers }, (_, index) => layer(index)));
      const mounted = await lab.mount(image, kind === 'writable');
      const numbers = numbersOf(mounted);
      const devices = new Set([...numbers.values()].map((each) => each.split(':')[0]));
      assert.deepEqual([...devices], [String(statSync(mounted, { bigint: true }).dev)]);

      await writeFile('/proc/sys/vm/drop_caches', '2');
      assert.deepEqual(numbersOf(mounted), numbers);

      const { ino, nlink } = lstatSync(join(mounted, 'own-0/file'));
      const other = lstatSync(join(mounted, 'own-0/linked'));
      assert.deepEqual([other.ino, other.nlink, nlink], [ino, 2, 2]);
      assert.equal(new Set(numbers.values()).size, numbers.size - layers, 'two have one number, or a link has two');

      const found = await run('find', [mounted, '-xdev']);
      assert.equal(found.trimEnd().split('\n').length, numbers.size);
      const archived = await run('tar', ['--one-file-system', '-cvf', '/dev/null', '-C', mounted, '.']);
      assert.equal(archived.trimEnd().split('\n').length, numbers.size);

      if (kind === 'writable') {
        await appendFile(join(mounted, 'own-0/file'), ' more');
        assert.equal(lstatSync(join(mounted, 'own-0/file'), { bigint: true }).dev, BigInt([...devices][0]!));
      }
      await lab.unmount(mounted);
    });
  }
}
