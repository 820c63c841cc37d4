import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspectText } from '../../../src/cli/inspect.ts';
import { verdictText } from '../../../src/cli/why.ts';

const digest = (byte: string) => `sha256:${byte.repeat(32)}`;

test('lazypull inspect shows what the layers are, and why one cannot be lazy', () => {
  const text = inspectText(
    { reference: 'docker.io/library/app:1', digest: digest('aa'), mediaType: 'type', platform: 'linux/amd64' },
    [
      {
        digest: digest('bb'),
        mediaType: 'gzip',
        bytes: 40_000_000,
        format: 'estargz',
        problem: undefined,
        content: { files: 10, entries: 12, chunks: 15, bytes: 9e7, landmark: { kind: 'prefetch', offset: 2e6 } },
        traceRanges: 3,
      },
      {
        digest: digest('cc'),
        mediaType: 'gzip',
        bytes: 1000,
        format: 'gzip',
        problem: { reason: 'no_toc', message: 'The layer is plain\x07' },
        content: undefined,
        traceRanges: undefined,
      },
      {
        digest: digest('dd'),
        mediaType: 'gzip',
        bytes: 1000,
        format: 'gzip',
        problem: { reason: 'content', message: 'The layer is damaged\x07' },
        content: undefined,
        traceRanges: undefined,
      },
    ],
  );
  assert.equal(
    text,
    [
      'docker.io/library/app:1',
      `${digest('aa')}, linux/amd64, type`,
      '3 layers, 40.0 MB; 2 can be lazy',
      '',
      'LAYER         FORMAT   SIZE     CONTENT  FILES  CHUNKS  LANDMARK         TRACE',
      'bbbbbbbbbbbb  estargz  40.0 MB  90.0 MB  10     15      prefetch 2.0 MB  3 ranges',
      'cccccccccccc  gzip     1.0 kB   -        -      -       -                -',
      'dddddddddddd  gzip     1.0 kB   -        -      -       -                -',
      '',
      'cccccccccccc can be lazy: no index of it is found: a daemon pulls it when it is first used, and makes one',
      'dddddddddddd cannot be lazy: The layer is damaged?',
      '',
    ].join('\n'),
  );
});

test('lazypull why says what to do below the reason', () => {
  const about = { digest: digest('bb'), bytes: 1e6, askedMs: undefined };
  assert.equal(
    verdictText({ ...about, verdict: 'refused', reason: 'no_toc', message: 'Plain', advice: 'convert it' }),
    'bbbbbbbbbbbb    1.0 MB  NOT LAZY: Plain\n    convert it\n',
  );
  const long = {
    ...about,
    reason: 'no_toc',
    message: 'It has no table of contents',
    advice: 'do "a b c" to it',
  } as const;
  assert.equal(
    verdictText({ ...long, verdict: 'impossible' }, undefined, 50).replace(/^\S+/, 'X'.repeat(12)),
    [
      'XXXXXXXXXXXX    1.0 MB  CANNOT BE LAZY: It has no',
      '                        table of contents',
      '    do "a b c" to it',
      '',
    ].join('\n'),
  );
  assert.equal(
    verdictText({ ...about, bytes: undefined, verdict: 'lazy', reason: undefined, message: '', advice: '' }),
    'bbbbbbbbbbbb         ?  lazy\n',
  );
});

test('inspectText has no table for an image without layers', () => {
  const image = { reference: 'registry.example/empty:1', digest: 'sha256:ab', mediaType: 'm', platform: undefined };
  assert.match(inspectText(image, []), /0 layers, 0 B; 0 can be lazy\n+$/);
});
