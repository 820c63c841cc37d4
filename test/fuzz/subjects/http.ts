import assert from 'node:assert/strict';
import fc from 'fast-check';
import { zoneOf } from '../../../src/registry/hosts/addresses.ts';
import { parseChallenges } from '../../../src/registry/auth/challenge.ts';
import { Hosts } from '../../../src/registry/hosts/hosts.ts';
import { byterangesBoundary, readByteranges } from '../../../src/registry/blob/multipart.ts';
import { parseContentLength, parseContentRange } from '../../../src/registry/blob/ranges.ts';
import { followable } from '../../../src/registry/http/redirect.ts';
import { parseRetryAfter } from '../../../src/registry/http/retry.ts';
import { inPieces } from '../../support/tar-builder.ts';
import type { Subject } from '../subject.ts';

const text = (arbitrary: fc.Arbitrary<string>) => arbitrary.map((value) => Buffer.from(value, 'latin1'));
const header = (input: Buffer) => input.toString('latin1').replace(/[\r\n\0]/g, ' ');

const word = fc.constantFrom('bearer', 'basic', 'realm', 'service', 'scope', 'negotiate', 'error', 'YWJj==', 'a', '');
const parameter = fc.tuple(
  word,
  fc.constantFrom('=', ' = ', ''),
  fc.oneof(
    word,
    word.map((w) => `"${w}\\""`),
  ),
);
const challenge = fc.tuple(
  word,
  fc.array(
    parameter.map((parts) => parts.join('')),
    { maxLength: 5 },
  ),
);

const number = fc.oneof(fc.nat(1000), fc.nat(), fc.maxSafeNat());

/** What may be in the headers of an answer. */
const headers: Subject[] = [
  {
    name: 'WWW-Authenticate',
    weight: 150,
    inputs: text(
      fc.array(challenge.map(([scheme, list]) => `${scheme} ${list.join(', ')}`)).map((all) => all.join(', ')),
    ),
    tokens: ['bearer ', ',', '="', '"', '\\', '=', ' realm="https://a.example/t"'],
    run(input) {
      for (const { scheme, parameters } of parseChallenges(header(input))) {
        assert.match(scheme, /^[^A-Z\s]+$/);
        assert.ok(parameters.size <= 32);
      }
    },
  },
  {
    name: 'Content-Range',
    weight: 150,
    inputs: text(
      fc
        .tuple(number, number, fc.oneof(number.map(String), fc.constant('*')))
        .map(([a, b, c]) => `bytes ${a}-${b}/${c}`),
    ),
    tokens: ['bytes ', '-', '/', '*', 'bytes */'],
    run(input) {
      const range = parseContentRange(header(input));
      if (range?.kind === 'range') {
        assert.ok(range.start < range.end && range.end <= (range.size ?? Number.MAX_SAFE_INTEGER));
      }
      assert.ok((parseContentLength(header(input)) ?? 0) >= 0);
    },
  },
  {
    name: 'Retry-After',
    weight: 60,
    inputs: text(
      fc.oneof(
        number.map(String),
        fc.date({ noInvalidDate: true }).map((date) => date.toUTCString()),
      ),
    ),
    tokens: ['GMT', 'Mon, ', '1e9', '-1'],
    run(input) {
      const ms = parseRetryAfter(header(input), 1e12);
      assert.ok(ms === undefined || (Number.isFinite(ms) && ms >= 0));
    },
  },
  {
    name: 'Location',
    weight: 60,
    inputs: text(
      fc.oneof(fc.webUrl({ withQueryParameters: true }), fc.constantFrom('/v2/x', '//h/x', 'file:///etc/shadow')),
    ),
    tokens: [
      'http://',
      'https://',
      '169.254.169.254',
      '[::ffff:169.254.0.1]',
      '[fe80::1]',
      '[::1]',
      'localhost',
      '127.1',
      '@',
      '//',
      '%',
      'file://',
      ':80',
    ],
    run(input) {
      const asked = { method: 'GET', url: new URL('https://registry.example/v2/') };
      const url = followable(asked, header(input), new Hosts(), 'anywhere');
      assert.equal(url.protocol, 'https:');
      assert.equal(zoneOf(url.hostname), 'anywhere');
      assert.equal(url.username + url.password, '');
    },
  },
];

const part = fc.tuple(fc.nat(50), fc.uint8Array({ maxLength: 60 })).map(([start, data]) => {
  const range = `Content-Range: bytes ${start}-${start + data.length - 1}/200`;
  return Buffer.concat([Buffer.from(`\r\n--x\r\nContent-Type: a/b\r\n${range}\r\n\r\n`), data]);
});

const multipart: Subject = {
  name: 'multipart/byteranges',
  weight: 60,
  inputs: fc.array(part, { maxLength: 4 }).map((parts) => Buffer.concat([...parts, Buffer.from('\r\n--x--\r\n')])),
  tokens: ['--x', '--x--', '\r\n', '\r\n\r\n', 'Content-Range: bytes 0-9/10\r\n', 'x'],
  async run(input, random) {
    byterangesBoundary(`multipart/byteranges; boundary=${header(input)}`);
    byterangesBoundary(header(input));
    let bytes = 0;
    const pieces = readByteranges(inPieces(input, 1 + random.below(300)), 'x');
    try {
      for await (const { offset, data, size } of pieces) {
        bytes += data.length;
        assert.ok(data.length > 0 && offset + data.length <= (size ?? Number.MAX_SAFE_INTEGER));
      }
    } catch (error) {
      if (!/^(a part of )?the multipart answer|^a part of the multipart/.test((error as Error).message)) throw error;
    }
    assert.ok(bytes <= input.length);
  },
};

export const http: readonly Subject[] = [...headers, multipart];
