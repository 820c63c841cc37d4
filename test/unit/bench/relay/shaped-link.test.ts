import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { parseLink } from '../../../../bench/link.ts';
import { ShapedLink } from '../../../../bench/relay/shaped-link.ts';

const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => (index * 31 + (index >> 8)) & 0xff));
const server = createServer((incoming, outgoing) => {
  incoming.resume();
  outgoing.end(incoming.url === '/big' ? content : 'small');
});
let port: number;

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  port = typeof address === 'object' && address !== null ? address.port : 0;
});
after(() => server.close());

for (const name of ['0ms', '2ms', '2ms/1gbit']) {
  describe(`A link of ${name}`, () => {
    test('carries answers unchanged and counts what it carries', async () => {
      await using link = await ShapedLink.open(parseLink(name), port);
      assert.equal((await answerOf(link, '/')).toString(), 'small');
      const bodies = await Promise.all([answerOf(link, '/big'), answerOf(link, '/big')]);
      for (const body of bodies) assert.ok(body.equals(content));
      const { connections, requests, bytesDown, bytesUp } = link.take();
      assert.equal(connections, 3);
      assert.deepEqual(
        requests.map(({ path, agent }) => `${path} ${agent}`),
        ['/ test', '/big test', '/big test'],
      );
      assert.ok((bytesDown['test'] ?? 0) > 2 * content.length);
      assert.ok(bytesUp > 0);
      assert.deepEqual(link.take(), { connections: 0, requests: [], bytesDown: {}, bytesUp: 0 });
    });

    test('goes on when a client leaves in the middle of an answer', async () => {
      await using link = await ShapedLink.open(parseLink(name), port);
      const response = await ask(link, '/big');
      await once(response, 'data');
      response.destroy();
      assert.equal((await answerOf(link, '/')).toString(), 'small');
    });
  });
}

async function ask(link: ShapedLink, path: string): Promise<IncomingMessage> {
  const options = { host: '127.0.0.1', port: link.port, path, headers: { 'User-Agent': 'test' }, agent: false };
  const [response] = (await once(request(options).end(), 'response')) as [IncomingMessage];
  return response;
}

async function answerOf(link: ShapedLink, path: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of (await ask(link, path)) as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts);
}
