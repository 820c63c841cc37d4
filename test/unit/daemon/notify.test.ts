import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { notifyManager } from '../../../src/daemon/notify.ts';
import { silentLog } from '../../../src/log.ts';

describe('notifyManager', () => {
  it('does nothing without a service manager', async () => {
    const log = { ...silentLog, warn: () => assert.fail('must not warn') };
    await notifyManager(undefined, 'READY=1', log);
    await notifyManager('', 'READY=1', log);
  });

  it('logs a failure and goes on', async () => {
    const messages: string[] = [];
    const log = { ...silentLog, warn: (_: object, message: string) => void messages.push(message) };
    await notifyManager('@lazypull-nobody-listens', 'READY=1', log);
    await notifyManager(`/${'x'.repeat(200)}`, 'READY=1', log);
    assert.deepEqual(messages, Array(2).fill('Cannot notify the service manager'));
  });
});
