import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InformationalFilter } from '../../../../src/registry/http/informational.ts';

const final = 'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nHTTP/1.1 100';

function passed(text: string, size: number): string {
  const filter = new InformationalFilter();
  let all = '';
  for (let at = 0; at < text.length; at += size) all += filter.pass(Buffer.from(text.slice(at, at + size))).toString();
  return all;
}

test('InformationalFilter takes out answers from 100 to 199 before the head, however they are cut', () => {
  const interim = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.0 102\r\n\r\n';
  for (const size of [1, 2, 3, 7, 13, 26, 1000]) {
    assert.equal(passed(interim + final, size), final);
    assert.equal(passed(final + interim, size), final + interim, 'what comes after the head is not looked at');
  }
});

test('InformationalFilter leaves what is no informational answer as it is', () => {
  for (const text of [
    'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    'HTTP/1.1 1000 x\r\n\r\n',
    'HTTP/2 100\r\n\r\nxxxxxxxx',
    'nonsense that is no HTTP',
  ])
    for (const size of [1, 5, 100]) assert.equal(passed(text, size), text);
});

test('InformationalFilter keeps no more of one than 16 KiB, and looks again for the next request', () => {
  const filter = new InformationalFilter();
  const long = Buffer.from(`HTTP/1.1 103 x\r\nx: ${'y'.repeat(20_000)}`);
  assert.equal(filter.pass(long).length, long.length);
  assert.equal(filter.pass(Buffer.from('HTTP/1.1 100 x\r\n\r\n')).length, 18);
  filter.expectHead();
  assert.equal(filter.pass(Buffer.from('HTTP/1.1 100 x\r\n\r\n')).length, 0);
});
