import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tryRun } from '../../support/program.ts';

test('FuseServer ends the program if its reader thread fails: no thread would answer readers', async () => {
  const script = `
    import { openSync } from 'node:fs';
    const { FuseServer } = await import(${JSON.stringify(new URL('../../../src/fuse/fuse-server.ts', import.meta.url).href)});
    new FuseServer({ fd: openSync('/', 'r'), root: openSync('/', 'r'), name: 'none', isInherited: false, wasAttached: false }, () => Promise.reject(), () => Promise.resolve(), undefined);
    setTimeout(() => {}, 60_000);
  `;
  const { status, stderr } = await tryRun(process.execPath, ['-e', script]);
  assert.notEqual(status, 0);
  assert.match(stderr, /The thread that reads \/dev\/fuse has failed[^]*EISDIR/);
});
