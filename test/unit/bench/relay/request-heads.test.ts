import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type RequestHead, RequestHeads } from '../../../../bench/relay/request-heads.ts';
import { inPieces } from '../../../support/tar-builder.ts';

async function headsIn(text: string, piece: number): Promise<RequestHead[]> {
  const found: RequestHead[] = [];
  const heads = new RequestHeads((head) => found.push(head));
  for await (const bytes of inPieces(Buffer.from(text, 'latin1'), piece)) heads.feed(bytes);
  return found;
}

const stream = [
  'GET /v2/ HTTP/1.1\r\nHost: a\r\nUser-Agent: one\r\n\r\n',
  'POST /v2/x HTTP/1.1\r\ncontent-length: 30\r\nuser-agent: two\r\n\r\nGET /not HTTP/1.1\r\n\r\n.........',
  'GET /v2/y HTTP/1.1\r\nRANGE:  bytes=0-1 \r\n\r\n',
].join('');

describe('The heads of requests', () => {
  for (const piece of [1, 7, 10_000]) {
    test(`are found in pieces of ${piece} bytes, bodies left out`, async () => {
      assert.deepEqual(await headsIn(stream, piece), [
        { method: 'GET', path: '/v2/', range: undefined, agent: 'one' },
        { method: 'POST', path: '/v2/x', range: undefined, agent: 'two' },
        { method: 'GET', path: '/v2/y', range: 'bytes=0-1', agent: '' },
      ]);
    });
  }

  test('are not looked for in what is not HTTP/1.1', async () => {
    assert.deepEqual(await headsIn(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'x'.repeat(200_000)}`, 65_536), []);
  });

  test('are not looked for after a chunked body', async () => {
    const text =
      'PUT /v2/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\nGET /v2/ HTTP/1.1\r\n\r\n';
    for (const piece of [9, 10_000]) assert.equal((await headsIn(text, piece)).length, 1);
  });
});
