import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { mountsOf } from '../../../src/snapshots/mounts.ts';

describe('mounts', () => {
  it('are one bind mount without parents', () => {
    assert.deepEqual(mountsOf('/s', { id: 1, kind: 'active', parents: [] }), [
      { type: 'bind', source: '/s/1/fs', options: ['rw', 'rbind'] },
    ]);
    assert.deepEqual(mountsOf('/s', { id: 1, kind: 'view', parents: [] }), [
      { type: 'bind', source: '/s/1/fs', options: ['ro', 'rbind'] },
    ]);
  });

  it('are the parent itself for a view of one', () => {
    assert.deepEqual(mountsOf('/s', { id: 2, kind: 'view', parents: [1] }), [
      { type: 'bind', source: '/s/1/fs', options: ['ro', 'rbind'] },
    ]);
  });

  it('are one overlay with only the options that BuildKit knows, nearest parent first', () => {
    assert.deepEqual(mountsOf('/s', { id: 3, kind: 'active', parents: [1] }), [
      { type: 'overlay', source: 'overlay', options: ['workdir=/s/3/work', 'upperdir=/s/3/fs', 'lowerdir=/s/1/fs'] },
    ]);
    assert.deepEqual(mountsOf('/s', { id: 3, kind: 'view', parents: [2, 1] }), [
      { type: 'overlay', source: 'overlay', options: ['lowerdir=/s/2/fs:/s/1/fs'] },
    ]);
  });
});

describe('mounts of lazy layers', () => {
  const parents = (count: number) => Array.from({ length: count }, (_, i) => count - i);
  const options = (kind: 'active' | 'view', layers: number, directory = '/var/lib/lazypull/snapshotter/snapshots') => {
    const [mount] = mountsOf(directory, { id: 900, kind, parents: parents(layers), xino: 'on' });
    return { options: mount!.options, content: join(directory, '900/fs'), work: join(directory, '900/work') };
  };

  for (const kind of ['active', 'view'] as const) {
    for (const layers of [2, 20, 60, 127]) {
      it(`have xino for every client that mounts one (${kind}) of ${layers}, and are otherwise the same`, () => {
        const { options: all, content, work } = options(kind, layers);
        const lower = parents(layers).map((id) => `/var/lib/lazypull/snapshotter/snapshots/${id}/fs`);
        const expected = {
          ...(kind === 'active' ? { upperdir: content, workdir: work } : {}),
          lowerdir: lower.join(':'),
          ...(layers > 20 ? { redirect_dir: 'follow' } : {}),
          xino: 'on',
        };
        assert.deepEqual(kernelOptions(all), expected);
        assert.deepEqual(buildkitLayers(all), [...lower.toReversed(), ...(kind === 'active' ? [content] : [])]);
        assert.equal(
          all.find((option) => option.startsWith('lowerdir=')),
          `lowerdir=${lower.join(':')}`,
        );
        assert.ok(layers > 20 || Buffer.byteLength(all.join(',')) < 3584);

        const stacked = [...(kind === 'active' ? [content] : []), ...lower];
        const readonly = readonlyOptions(all);
        const { xino, lowerdir } = kernelOptions(readonly);
        assert.deepEqual({ xino, lowerdir }, { xino: 'on', lowerdir: stacked.join(':') });
        assert.deepEqual(buildkitLayers(readonly), stacked.toReversed());
      });
    }
  }

  it('are bind mounts if those of other layers are', () => {
    assert.deepEqual(mountsOf('/s', { id: 2, kind: 'view', parents: [1], xino: 'on' }), [
      { type: 'bind', source: '/s/1/fs', options: ['ro', 'rbind'] },
    ]);
  });
});

/** What overlayfs makes of options that a client joins: the last of each counts. */
function kernelOptions(options: readonly string[]): Record<string, string> {
  const entries = options.join(',').split(',');
  return Object.fromEntries(entries.map((entry) => entry.split('=', 2) as [string, string]));
}

/**
 * The layers that BuildKit's overlay differ finds, the lowest first; it gives up at an option that it does not know
 * (util/overlay, GetOverlayLayers).
 */
function buildkitLayers(options: readonly string[]): string[] {
  let lower: string[] = [];
  let upper: string[] = [];
  for (const option of options) {
    const [, name, value = ''] = /^(upperdir|lowerdir|workdir|redirect_dir)=(.*)$/.exec(option) ?? assert.fail(option);
    if (name === 'upperdir') upper = [value];
    if (name === 'lowerdir') lower = value.split(':').toReversed();
  }
  return [...lower, ...upper];
}

/** What BuildKit makes of options for a read-only mount (cache/refs.go, readonlyOverlay). So does containerd. */
function readonlyOptions(options: readonly string[]): string[] {
  const upper = options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
  const kept = options.filter((option) => !/^(upperdir|workdir)=/.test(option));
  return upper === undefined ? kept : kept.map((option) => option.replace(/^lowerdir=/, `lowerdir=${upper}:`));
}
