import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse as parseToml } from 'smol-toml';
import { withElements, withTables } from '../../../src/setup/toml-text.ts';

/** Tables as plain objects. */
const parse = (text: string): object => structuredClone(parseToml(text));

const oci = [{ path: ['worker', 'oci'], values: { enabled: true, snapshotter: 'stargz' } }];

test('withTables puts a new value below the header of its table, and keeps comments and order', () => {
  const text = `# mine
debug = true

[worker.oci] # the worker
    gc = false
    # snapshotter = "none"
[worker.containerd]
  snapshotter = "overlayfs"
`;
  assert.equal(
    withTables(text, oci),
    `# mine
debug = true

[worker.oci] # the worker
  enabled = true
  snapshotter = "stargz"
    gc = false
    # snapshotter = "none"
[worker.containerd]
  snapshotter = "overlayfs"
`,
  );
});

test('withTables replaces an existing value, and changes nothing if all is right', () => {
  const text = '[ worker . "oci" ]\n\tenabled = false # no\n\tsnapshotter = "overlayfs"\n[other]\nenabled = false';
  const changed = withTables(text, oci);
  assert.equal(changed, '[ worker . "oci" ]\n\tenabled = true\n\tsnapshotter = "stargz"\n[other]\nenabled = false');
  assert.equal(withTables(changed, oci), changed);
});

test('withTables appends a missing table', () => {
  assert.equal(withTables('', oci), '[worker.oci]\n  enabled = true\n  snapshotter = "stargz"\n');
  assert.equal(withTables('a = 1\n\n\n', oci), 'a = 1\n\n[worker.oci]\n  enabled = true\n  snapshotter = "stargz"\n');
});

test('withTables refuses what a line or two cannot change', () => {
  const safely = { code: 'FailedPrecondition', message: /a program cannot change safely/ };
  assert.throws(() => withTables('worker = { oci = { gc = true } }', oci), safely);
  assert.throws(() => withTables('[worker]\noci.gc = true', oci), safely);
  assert.throws(() => withTables('[worker.oci]\nsnapshotter = """\noverlayfs"""', oci), safely);
  assert.throws(() => withTables('worker = 1', oci), safely);
  assert.throws(
    () =>
      withTables(
        "[worker.oci]\ngc = [\n  1,\n]\ntext = '''\n[worker.oci]\n'''\n[[worker.oci.x]]\nenabled = 1\nenabled = 2",
        oci,
      ),
    {
      code: 'InvalidArgument',
    },
  );
});

test('withTables does not take a header inside of a text for one', () => {
  const text = "note = '''\n[worker.oci]\n'''\n[worker.oci]\ngc = true\n";
  assert.throws(() => withTables(text, oci), { message: /a program cannot change safely/ });
});

test('withElements appends to an array of tables, even to an existing one', () => {
  const path = ['plugins', 'io.x.v1', 'list'];
  const once = withElements('version = 3\n', path, [{ name: 'a' }]);
  assert.equal(once, 'version = 3\n\n[[plugins."io.x.v1".list]]\n  name = "a"\n');
  const twice = withElements(once, path, [{ name: 'b' }]);
  assert.deepEqual(parse(twice), { version: 3, plugins: { 'io.x.v1': { list: [{ name: 'a' }, { name: 'b' }] } } });
  const inline = '[plugins."io.x.v1"]\nlist = [{ name = "a" }]\n';
  assert.throws(() => withElements(inline, path, [{ name: 'b' }]), /a program cannot change safely/);
});
