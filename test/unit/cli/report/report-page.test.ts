import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reportPage } from '../../../../src/cli/report/report-page.ts';
import { style } from '../../../../src/cli/report/report-style.ts';
import { aReport, hostileText } from '../../../support/a-report.ts';

const page = reportPage(aReport(), 'build<1>', Date.UTC(2026, 10, 30));

test('reportPage needs nothing from outside, and runs nothing', () => {
  assert.ok(!/<(script|link|img|iframe|object|embed|form|base)\b/i.test(page));
  assert.ok(!/\b(src|href|on\w+)\s*=/i.test(page.replaceAll(/>[^<]*</g, '><')));
  assert.ok(!/url\(|@import/i.test(page));
  assert.match(page, /default-src 'none'; style-src 'unsafe-inline'/);
});

test('reportPage escapes what clients and registries name', () => {
  assert.ok(!page.includes(hostileText));
  assert.ok(!page.includes('<script>'));
  assert.match(page, /&quot;&gt;&lt;script&gt;alert\(1\)&lt;\/script&gt;&#39;&amp;\?\]0;x\?\?/);
  assert.match(page, /<title>lazypull on build&lt;1&gt;<\/title>/);
});

test('reportPage closes every element that it opens', () => {
  const open: string[] = [];
  for (const [, close, name, self] of page.matchAll(/<(\/?)([a-z][a-z0-9]*)[^>]*?(\/?)>/g)) {
    if (['meta', 'br'].includes(name!) || self === '/') continue;
    if (close === '') open.push(name!);
    else assert.equal(open.pop(), name);
  }
  assert.deepEqual(open, []);
});

test('reportPage names each picture and each table for those who cannot see them', () => {
  for (const [svg] of page.matchAll(/<svg[^>]*>/g)) assert.match(svg, /role="img" aria-label="\d+ % of the layer was/);
  assert.match(page, /<html lang="en">/);
  assert.match(page, /<th scope="col">Layer/);
  const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const [, id] of page.matchAll(/aria-labelledby="([^"]+)"/g)) assert.ok(ids.includes(id));
});

/** Colours by their names, of a light or a dark page. */
function coloursOf(text: string): Map<string, string> {
  return new Map([...text.matchAll(/--([a-z0-9]+): (#[0-9a-f]{3,6})/g)].map(([, name, colour]) => [name!, colour!]));
}

function luminance(colour: string): number {
  const hex = colour.length === 4 ? colour.replaceAll(/[0-9a-f]/g, '$&$&') : colour;
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

/** The contrast of two colours (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio). */
function contrast(a: string, b: string): number {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light! + 0.05) / (dark! + 0.05);
}

for (const [mode, text] of [
  ['light', style.slice(0, style.indexOf('@media'))],
  ['dark', style.slice(style.indexOf('@media'), style.indexOf('* {'))],
] as const) {
  test(`reportPage has colours with enough contrast in ${mode}`, () => {
    const colours = coloursOf(text);
    const of = (name: string): string => colours.get(name) ?? assert.fail(`no colour "${name}"`);
    for (const ground of ['ground', 'panel']) {
      for (const name of ['text', 'quiet', 'bad'])
        assert.ok(contrast(of(name), of(ground)) >= 4.5, `${name} ${ground}`);
    }
    for (const name of ['t0', 't1', 't2', 't3', 't4', 'here']) {
      const found = contrast(of(name), of('empty'));
      assert.ok(found >= 3, `${name} has ${found}`);
    }
  });
}
