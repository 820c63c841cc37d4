import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { startService } from '../../../src/buildkit/start.ts';

describe('startService', () => {
  const logs = mkdtempSync(join(tmpdir(), 'lazypull-start-'));
  after(() => rmSync(logs, { recursive: true }));
  const start = (script: string) =>
    startService('service', ['sh', '-c', script], join(logs, 'socket'), { logs, env: process.env, say: () => {} });

  it('shows how the log of a service ends that does not start', async () => {
    await assert.rejects(start('echo why it is; exit 3'), {
      code: 'Unavailable',
      message: `Cannot start service: it ended with exit code 3; see ${logs}/service.log, which ends so:\nwhy it is`,
    });
  });

  it('says what an empty log means', async () => {
    rmSync(join(logs, 'service.log'));
    await assert.rejects(start('exit 1'), /see .*service\.log, which is empty, as it is on a full disk$/);
  });
});
