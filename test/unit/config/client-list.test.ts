import assert from 'node:assert/strict';
import { codeOf, explain } from '../../../src/errors.ts';
import { describe, it } from 'node:test';
import { clientsOf, nameOfAddress } from '../../../src/config/client-list.ts';

describe('clientsOf', () => {
  const refused = (addresses: string[], tables: { name: string; address: string }[], message: RegExp) =>
    assert.throws(
      () => clientsOf(addresses, tables),
      (error) => codeOf(error) === 'InvalidArgument' && message.test(explain(error)),
    );

  it('names further addresses by their files', () => {
    assert.deepEqual(clientsOf(['/a/x.sock', 'unix:///b/buildkit.sock', '/c/plain'], []), [
      { name: 'default', address: '/a/x.sock' },
      { name: 'buildkit', address: '/b/buildkit.sock' },
      { name: 'plain', address: '/c/plain' },
    ]);
    assert.equal(nameOfAddress('/run/x.sock'), 'x');
  });

  it('refuses two clients at one socket, however it is written', () => {
    refused(['/a/x.sock', '/a/../a/x.sock'], [], /"default" and "x" at one socket, "\/a\/x\.sock"/);
    refused(['/a/x.sock'], [{ name: 'y', address: 'unix:///a/x.sock' }], /give each a socket of its own/);
  });

  it('refuses two clients of one name', () => {
    refused(['/a', '/b/x.sock', '/c/x.sock'], [], /two clients of the name "x".*\[\[client\]\]/);
    refused(['/a', '/b/x.sock'], [{ name: 'x', address: '/c' }], /two clients of the name "x"/);
    refused(['/a'], [{ name: 'default', address: '/c' }], /"default".*the client of the first address/);
  });

  it('refuses names that are no directories', () => {
    for (const name of ['', '.', '..', 'a/b', '../x', 'a b', '-x', 'x'.repeat(64), 'a\0']) {
      refused(['/a'], [{ name, address: '/c' }], /Cannot use the client name/);
    }
    refused(['/a', '/b/.sock'], [], /Cannot use the client name ""/);
  });

  it('refuses paths that no socket can have', () => {
    const long = `/${'x'.repeat(107)}`;
    refused([long], [], /at most 107 bytes/);
    refused(['/a'], [{ name: 'x', address: long }], /at most 107 bytes/);
    assert.equal(clientsOf([long.slice(0, 107)], []).length, 1);
  });

  it('refuses more clients than a machine has', () => {
    const tables = Array.from({ length: 16 }, (_, i) => ({ name: `c${i}`, address: `/${i}` }));
    refused(['/a'], tables, /Cannot serve 17 clients/);
    assert.equal(clientsOf(['/a'], tables.slice(1)).length, 16);
  });
});
