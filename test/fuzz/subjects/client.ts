import assert from 'node:assert/strict';
import fc from 'fast-check';
import { codeOf } from '../../../src/errors.ts';
import { Formats } from '../../../src/formats/index.ts';
import { resolve } from '../../../src/layers/resolve/layer-ref.ts';
import { Refusal } from '../../../src/layers/resolve/refusal.ts';
import { formatReference, parseReference } from '../../../src/registry/reference.ts';
import { matches, parseFilters } from '../../../src/snapshots/filters.ts';
import { compileGoRegExp } from '../../../src/snapshots/go-regexp.ts';
import { splitLabels, updateLabels } from '../../../src/snapshots/labels.ts';
import type { SnapshotInfo } from '../../../src/snapshots/snapshot.ts';
import { FilterBudget } from '../../../src/snapshots/filter-budget.ts';
import type { Subject } from '../subject.ts';

const formats = new Formats();
const utf8 = (arbitrary: fc.Arbitrary<string>) => arbitrary.map((value) => Buffer.from(value));
const joined = (pieces: readonly string[], maxLength: number) =>
  utf8(fc.array(fc.constantFrom(...pieces), { maxLength }).map((parts) => parts.join('')));

const digest = `sha256:${'ab'.repeat(32)}`;
const referenceParts = [
  'alpine',
  'localhost',
  ':5000',
  '/',
  'a',
  'b_c',
  '.example',
  ':tag',
  `@${digest}`,
  '[::1]',
  '-',
];

const reference: Subject = {
  name: 'reference',
  weight: 150,
  inputs: joined(referenceParts, 7),
  tokens: [...referenceParts, '__', '@', ':', '//', '%41', 'ä'],
  run(input) {
    const parsed = parseReference(input.toString());
    assert.deepEqual(parseReference(formatReference(parsed)), parsed);
    assert.doesNotMatch(parsed.repository, /[^a-z0-9._/-]|\.\.|\/\//);
    assert.doesNotMatch(parsed.host, /[/@?#\s]/);
  },
};

const labelKeys = [
  'containerd.io/snapshot.ref',
  'containerd.io/snapshot/remote/stargz.reference',
  'containerd.io/snapshot/remote/stargz.digest',
  'containerd.io/snapshot/remote/stargz.layers',
  'containerd.io/snapshot/remote/stargz.prefetch',
  'containerd.io/snapshot/stargz/toc.digest',
  'containerd.io/snapshot/cri.image-ref',
  `containerd.io/snapshot/remote/urls.${'a1'.repeat(12)}b`,
  '__proto__',
  'constructor',
];
const label = fc.tuple(
  fc.constantFrom(...labelKeys),
  fc.constantFrom(digest, 'localhost:5000/x', '1', '', `${digest},x`),
);

const labels: Subject = {
  name: 'labels',
  weight: 150,
  inputs: utf8(fc.array(label.map((pair) => pair.join('='))).map((lines) => lines.join('\n'))),
  tokens: [...labelKeys, digest, '=', '\n', 'sha256:', '.', ','],
  run(input) {
    const pairs = input
      .toString()
      .split('\n')
      .map((line) => line.split('=', 2) as [string, string?]);
    const given = Object.fromEntries(pairs.map(([key, value]) => [key, value ?? '']));
    const { durable, temporary } = splitLabels(given);
    assert.ok(Object.keys(durable).every((key) => !Object.hasOwn(temporary, key)));
    const updated = updateLabels(
      durable,
      given,
      pairs.map(([key]) => `labels.${key}`),
    );
    assert.ok(Object.values(updated).every((value) => value !== ''));
    const named = resolve(given, formats);
    if (named instanceof Refusal) throw named;
    const { id } = named;
    assert.match(id.digest, /^sha256:[0-9a-f]{64}$/);
    assert.match(id.index, /^sha256:[0-9a-f]{64}$/);
  },
};

const filterParts = ['name', 'kind', 'parent', 'labels', '."a.b/c"', '.', ',', '==', '!=', '~=', '"', '/', '|', '\\'];
const infos: SnapshotInfo[] = ['committed', 'active'].map((kind, i) => ({
  name: `sha256:${'a'.repeat(30 * i)}`,
  parent: '',
  kind: kind as 'committed' | 'active',
  createdMicros: 0,
  updatedMicros: 0,
  labels: { 'a.b/c': 'a'.repeat(300) },
}));

const filters: Subject = {
  name: 'filters',
  weight: 100,
  inputs: joined([...filterParts, '^(a+)+$', 'committed', '\\x41', ' ', 'ä'], 10),
  tokens: [...filterParts, '~=^(a*)*$', '(?i)', '\\u0041', '{2,500}'],
  run(input) {
    const parsed = parseFilters(input.toString().split('\n'));
    for (const info of infos) matches(parsed, info);
  },
};

const patternParts = [
  'a',
  '.',
  '*',
  '+',
  '?',
  '{2}',
  '{1,3}',
  '(',
  ')',
  '(?:',
  '(?i)',
  '|',
  '[',
  '[^',
  ']',
  '-',
  '\\w',
  '\\b',
];

const expressions: Subject = {
  name: 'regular expressions',
  weight: 60,
  inputs: joined([...patternParts, '^', '$', '\\pL', '[:alpha:]', '\\Q', '\\E', 'b'], 12),
  tokens: [...patternParts, '{1000}', '(?s', '(?P<a>', '\\x{41}', '{1000,}'],
  run(input) {
    const expression = compileGoRegExp(input.toString(), new FilterBudget());
    try {
      expression?.test(`${'a'.repeat(500)}\n-ä`);
    } catch (error) {
      assert.equal(codeOf(error), 'ResourceExhausted');
    }
  },
};

export const client: readonly Subject[] = [reference, labels, filters, expressions];
