import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cgroupLimits } from '../../../src/kernel/cgroup.ts';

/**
 * Limits that a process sees that has this in /proc/self/cgroup, with these files below the mounts, `/` of which is a
 * new directory.
 */
function limitsOf(
  t: TestContext,
  cgroup: readonly string[],
  mounts: readonly string[],
  files: Readonly<Record<string, string>>,
) {
  const root = mkdtempSync(join(tmpdir(), 'lp-cgroup-'));
  t.after(() => rmSync(root, { recursive: true }));
  writeFileSync(join(root, 'cgroup'), `${cgroup.join('\n')}\n`);
  writeFileSync(join(root, 'mountinfo'), `${mounts.map((line) => line.replace('/sys', `${root}/sys`)).join('\n')}\n`);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${text}\n`);
  }
  return cgroupLimits(root);
}

const unified = '30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';

test('cgroupLimits takes the smallest limit on the way to the root, of version 2', (t) => {
  const limits = limitsOf(t, ['0::/a.slice/b.service'], [unified], {
    'sys/fs/cgroup/a.slice/memory.max': '300000000',
    'sys/fs/cgroup/a.slice/memory.high': 'max',
    'sys/fs/cgroup/a.slice/b.service/memory.max': 'max',
    'sys/fs/cgroup/a.slice/b.service/memory.high': '250000000',
    'sys/fs/cgroup/a.slice/b.service/pids.max': '100',
    'sys/fs/cgroup/a.slice/b.service/pids.current': '40',
    'sys/fs/cgroup/a.slice/pids.max': '50',
    'sys/fs/cgroup/a.slice/pids.current': '45',
  });
  assert.deepEqual(limits, { memoryBytes: 250_000_000, newThreads: 5 });
});

test('cgroupLimits takes the largest number of version 1 as no limit', (t) => {
  const mounts = [
    '40 32 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
    '41 32 0:34 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids',
    '42 32 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
  ];
  const cgroup = ['4:memory:/docker/abc', '8:pids:/x', '3:cpu,cpuacct:/', '0::/'];
  const limits = limitsOf(t, cgroup, mounts, {
    'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712',
    'sys/fs/cgroup/memory/docker/memory.limit_in_bytes': '9223372036854771712',
    'sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes': '157286400',
    'sys/fs/cgroup/pids/x/pids.max': 'max',
  });
  assert.deepEqual(limits, { memoryBytes: 157_286_400, newThreads: undefined });
});

test('cgroupLimits works in a container whose mount begins at its own group or whose path leads out of sight', (t) => {
  const own = ['40 32 0:33 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory'];
  const files = { 'sys/fs/cgroup/memory/memory.limit_in_bytes': '1000' };
  assert.equal(limitsOf(t, ['4:memory:/docker/abc'], own, files).memoryBytes, 1000);
  assert.equal(limitsOf(t, ['4:memory:/'], own, files).memoryBytes, 1000);
  const above = limitsOf(t, ['0::/../other'], [unified], { 'sys/fs/cgroup/memory.max': '2000' });
  assert.equal(above.memoryBytes, 2000);
  assert.equal(limitsOf(t, ['0::/'], [unified], {}).memoryBytes, undefined);
});

test('cgroupLimits has no limit without control groups', (t) => {
  assert.deepEqual(limitsOf(t, [], [], {}), { memoryBytes: undefined, newThreads: undefined });
  assert.deepEqual(cgroupLimits('/nowhere'), { memoryBytes: undefined, newThreads: undefined });
});
