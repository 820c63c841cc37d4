import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { reportPage } from '../../src/cli/report/report-page.ts';
import { aReport, hostileText } from '../support/a-report.ts';
import { Browser } from '../support/browser.ts';

const directory = mkdtempSync(join(tmpdir(), 'lazypull-page-'));
const url = `file://${join(directory, 'report.html')}`;
let browser: Browser;
before(async () => {
  writeFileSync(join(directory, 'report.html'), reportPage(aReport(), 'build-7', Date.UTC(2026, 10, 30)));
  browser = await Browser.open();
});
after(async () => {
  await browser[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const colourOf = (selector: string, property: string): string =>
  `getComputedStyle(document.querySelector(${JSON.stringify(selector)})).${property}`;

for (const [colours, ground, bar] of [
  ['light', 'rgb(255, 255, 255)', 'rgb(106, 13, 131)'],
  ['dark', 'rgb(13, 17, 23)', 'rgb(224, 163, 255)'],
] as const) {
  test(`The page of a report has its ${colours} colours, fits its window and asks for nothing`, async () => {
    for (const width of [1200, 800, 400]) {
      await browser.show(url, width, colours);
      assert.equal(await browser.evaluate(colourOf('body', 'backgroundColor')), ground);
      assert.equal(await browser.evaluate(colourOf('rect.t0', 'fill')), bar);
      assert.ok(((await browser.evaluate('document.documentElement.scrollWidth')) as number) <= width, `${width}`);
      const high = await browser.evaluate('document.querySelector(".strip").getBoundingClientRect().height');
      assert.ok((high as number) >= 20);
    }
    assert.deepEqual(new Set(browser.requests.filter((each) => each !== 'about:blank')), new Set([url]));
    assert.deepEqual(browser.complaints, []);
  });
}

test('The page of a report shows hostile names as text, and has a name for each picture and table', async () => {
  await browser.show(url, 1200, 'light');
  const names = await browser.evaluate('[...document.querySelectorAll("h2")].map((each) => each.textContent)');
  assert.ok((names as string[]).some((name) => name.startsWith(hostileText.slice(0, 28))));
  assert.equal(await browser.evaluate('document.scripts.length'), 0);
  const nodes = await browser.accessible();
  const pictures = nodes.filter(({ role }) => role === 'image');
  assert.ok(
    pictures.length >= 5 && pictures.every(({ name }) => /^\d+ % of the layer was read, \d+ % is here$/.test(name)),
  );
  const regions = nodes.filter(({ role }) => role === 'region');
  assert.ok(regions.length >= 4 && regions.every(({ name }) => name !== ''));
  assert.ok(nodes.some(({ role, name }) => role === 'rowheader' && name === 'a1a1a1a1a1a1'));
});
