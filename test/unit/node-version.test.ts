import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkNodeVersion } from '../../src/node-version.ts';

test('checkNodeVersion refuses what is older than Node 24, and says so', () => {
  for (const version of ['24.0.0', '25.1.0-nightly', process.versions.node]) checkNodeVersion(version);
  assert.throws(() => checkNodeVersion('20.19.2'), { message: /lazypull with Node 20\.19\.2: it needs Node 24/ });
});
