import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  parsePlatform,
  type Platform,
  platformOfJson,
  PlatformMatcher,
  platformText,
} from '../../../src/images/platforms.ts';

interface Answer {
  asked: string;
  platform?: Record<string, unknown>;
  text?: string;
  matching: number[];
  less?: string;
}

/** What github.com/containerd/platforms says on linux/amd64: see main.go beside it. */
const oracle = JSON.parse(readFileSync(new URL('../../oracles/platforms/platforms.json', import.meta.url), 'utf8')) as {
  candidates: Record<string, unknown>[];
  pairs: [number, number][];
  answers: Answer[];
};

const candidates = oracle.candidates.map((json) => platformOfJson(json) ?? assert.fail());
/** Words without an architecture mean that of the machine. */
const ofThisMachine = new Set(['linux', 'macos', 'linux(+gpu)']);
const answers = oracle.answers.filter(({ asked }) => process.arch === 'x64' || !ofThisMachine.has(asked));

test('PlatformMatcher reads, compares and orders platforms as containerd does', () => {
  assert.ok(answers.length > 60 && candidates.length > 80);
  for (const { asked, platform, text, matching, less } of answers) {
    if (platform === undefined) {
      assert.throws(() => parsePlatform(asked), /Cannot read the platform/, asked);
      continue;
    }
    const parsed = parsePlatform(asked);
    assert.deepEqual(parsed, platformOfJson(platform), asked);
    assert.equal(platformText(parsed), text, asked);
    const matcher = new PlatformMatcher(parsed);
    const found = [...candidates.keys()].filter((i) => matcher.matches(candidates[i]!));
    found.sort((a, b) => matcher.compare(candidates[a]!, candidates[b]!));
    assert.deepEqual(found.map(name), matching.map(name), asked);
    const isLess = oracle.pairs.map(([a, b]) => (matcher.compare(candidates[a]!, candidates[b]!) < 0 ? '1' : '0'));
    assert.equal(isLess.join(''), less, asked);
  }
});

function name(i: number): string {
  return `${i} ${platformText(candidates[i] as Platform)}`;
}

test('platformOfJson takes the fields that Go takes, and nothing else', () => {
  const nothing = { os: '', architecture: '', variant: '', osVersion: '', osFeatures: [] };
  assert.deepEqual(platformOfJson({}), nothing);
  assert.deepEqual(platformOfJson({ os: null, variant: null, 'os.features': null }), nothing);
  for (const wrong of [{ os: 1 }, { 'os.features': 'gpu' }, { 'os.features': [1] }, { architecture: {} }]) {
    assert.equal(platformOfJson(wrong), undefined, JSON.stringify(wrong));
  }
});
