import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { codeOf } from '../../../src/errors.ts';
import { matches, parseFilters } from '../../../src/snapshots/filters.ts';
import type { SnapshotInfo } from '../../../src/snapshots/snapshot.ts';
import fc from '../../support/properties.ts';

const info: SnapshotInfo = {
  name: 'sha256:abc/def',
  parent: 'base',
  kind: 'committed',
  createdMicros: 0,
  updatedMicros: 0,
  labels: {
    l: '1',
    'containerd.io/snapshot.ref': 'sha256:abc',
    'a.b/c': 'x y',
    'odd,key': 'a,b',
    quote: 'say "hi"\n',
    empty: '',
  },
};
const select = (...filters: string[]) => matches(parseFilters(filters), info);

describe('containerd filters', () => {
  it('match what containerd matches', () => {
    for (const [filter, expected] of [
      ['', true],
      ['kind==committed', true],
      ['kind==active', false],
      ['name==sha256:abc/def', true],
      ['name=="sha256:abc/def"', true],
      ['name!=other', true],
      ['parent==base,kind==committed', true],
      ['parent==base,kind==view', false],
      ['parent==""', false],
      ['parent!=""', true],
      ['labels.l', true],
      ['labels.m', false],
      ['labels.empty', true],
      ['labels', false],
      ['labels.l==1', true],
      ['labels."l"==1', true],
      ['labels.m!=1', true],
      ['labels."containerd.io/snapshot.ref"==sha256:abc,parent=="base"', true],
      ['labels.containerd."io/snapshot".ref==sha256:abc', true],
      ['labels.a."b/c"=="x y"', true],
      ['labels."odd,key"=="a,b"', true],
      ['labels.quote=="say \\"hi\\"\\n"', true],
      ['labels.quote=="say \\x22hi\\042\\u000a"', true],
      ['labels.missing~=^$', true],
      ['name~=^sha256:', true],
      ['name~=/^sha256:abc\\/def$/', true],
      ['name~=|abc/|', true],
      ['name~="(?i)SHA256:[[:xdigit:]]+"', true],
      ['name~="\\\\Asha256:(?P<hex>abc)/def\\\\z"', true],
      ['name~="\\\\Qabc/\\\\E"', true],
      ['name~=(unclosed', false],
      ['unknown', false],
      ['unknown!=x', true],
      ['name\t==sha256:abc/def', true],
      [' name ==sha256:abc/def', true],
      ['name== sha256:abc/def', true],
      ['name==ä€𝄞', false],
    ] as const) {
      assert.equal(select(filter), expected, filter);
    }
  });

  it('match when any of several does, and all without one', () => {
    assert.equal(select(), true);
    assert.equal(select('kind==view', 'labels.l==1'), true);
    assert.equal(select('kind==view', 'kind==active'), false);
  });

  it('give back any text that Go quotes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.constantFrom('name', 'parent'), (text, field) => {
        fc.pre(!/[\0\ufffd]/.test(text));
        const filters = parseFilters([`${field}==${goQuoted(text)}`]);
        assert.ok(matches(filters, { ...info, [field]: text }));
        assert.ok(!matches(filters, { ...info, [field]: `${text}x` }));
      }),
    );
  });

  it('are refused with the place of the error', () => {
    for (const filter of [
      '=',
      'name=',
      'name=x',
      'name===x',
      'name==',
      'name==,',
      'name<x',
      '.name',
      'labels.',
      'labels..x',
      ',',

      'name==a,',
      'name=="a',
      'name=="a"b',
      'name==/a/',
      "name=='a b'",
      'na me',
      'name ,kind',
      'labels./x/',
      'näme',

      'name=="\\q"',
      'name=="\\x4"',
      'name=="\\400"',
      'name=="\\U00110000"',
      'name=="a\nb"',
      'a\0',
      '\ufffd',
    ]) {
      assert.throws(
        () => parseFilters([filter]),
        (error: Error) => codeOf(error) === 'InvalidArgument' && /at character \d+: /.test(error.message),
        JSON.stringify(filter),
      );
    }
    assert.throws(() => parseFilters(Array.from({ length: 2000 }, () => 'name')), /more than 1024/);
    assert.throws(() => parseFilters([`name==${'x'.repeat(100_000)}`]), /more than 65536 characters/);
  });

  it('never fail with anything but InvalidArgument', () => {
    const piece = fc.constantFrom(
      'name',
      'labels',
      '.',
      ',',
      '==',
      '~=',
      '!',
      '"',
      '/',
      '|',
      '\\',
      ' ',
      'x',
      '(',
      '\\x41',
      '\n',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        try {
          matches(parseFilters([pieces.join('')]), info);
        } catch (error) {
          assert.equal(codeOf(error), 'InvalidArgument');
        }
      }),
      { numRuns: 1000 },
    );
  });
});

/** As strconv.Quote. */
function goQuoted(text: string): string {
  const escaped = text.replace(/[\\"]/g, '\\$&').replace(/[\p{C}\p{Z}]/gu, (c) => (c === ' ' ? c : codePoint(c)));
  return `"${escaped}"`;
}

function codePoint(character: string): string {
  return `\\U${(character.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`;
}
