import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const root = join(import.meta.dirname, '../..');
const text = (path: string) => readFileSync(join(root, path), 'utf8');
const pages = ['README.md', ...globSync('docs/**/*.md', { cwd: root })];
const sources = globSync('src/**/*.ts', { cwd: root }).map(text);

/** Names of other programs: BuildKit's, zlib's, containerd's; a pattern. */
const foreign = new Set([
  'maxUsedSpace',
  'reservedSpace',
  'TestClientGatewaySlowCacheExecError',
  'vVERSION',
  'inflateInit2',
  'WithUnpackFetchAllContent',
]);

/** Constants of the table whose values it says in other words. */
const inWords = new Set(['maxInflation', 'maxFilterMicros', 'silentLooks', 'requestBytes']);

describe('names in the documentation', () => {
  it('are those of something in the code', () => {
    const all = [...sources, ...globSync('{bench,proto,script,test}/**/*.{ts,proto}', { cwd: root }).map(text)].join(
      '',
    );
    const unknown = pages.flatMap((page) =>
      words(page)
        .filter((word) => /^(?:[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*)(?:\(\))?$/.test(word))
        .map((word) => word.replace('()', ''))
        .filter((word) => !foreign.has(word) && !new RegExp(`\\b${word}\\b`).test(all))
        .map((word) => `${page}: ${word}`),
    );
    assert.deepEqual(unknown, []);
  });

  it('are those of files and folders that are there', () => {
    const unknown = pages.flatMap((page) =>
      words(page)
        .filter((word) => /^[a-z][\w.-]*\/(?:[\w.-]+\/)*(?:[\w-]+\.(?:ts|json|proto))?$/.test(word))
        .filter((word) => !existsSync(join(root, word)) && !existsSync(join(root, 'src', word)))
        .map((word) => `${page}: ${word}`),
    );
    assert.deepEqual(unknown, []);
  });

  it('are those of tests that are there, for each bug that was fixed', () => {
    const named = [...text('docs/reliability.md').matchAll(/`(test\/[\w/-]+)`: "([^"]+)"/g)];
    assert.ok(named.length >= 14);
    const missing = named.filter(([, file, name]) => !text(`${file}.test.ts`).includes(name!));
    assert.deepEqual(missing, []);
  });

  it('have the values in the table of bounds that the constants have', () => {
    const rows = text('docs/security.md').matchAll(/^\|([^|]+)\|([^|]+)\|([^|]*`[^|]+)\|$/gm);
    const wrong: string[] = [];
    let compared = 0;
    for (const [, what = '', said = '', names = ''] of rows) {
      const stated = valuesIn(`${what} ${said}`);
      const constants = [...names.matchAll(/`(\w+)`/g)]
        .map(([, name = '']) => ({ name, values: sources.flatMap((source) => constantsIn(source, name)) }))
        .filter(({ name, values }) => values.length > 0 && !inWords.has(name));
      compared += constants.length;
      const sum = constants.reduce((most, { values }) => most + values[0]!, 0);
      if (stated.some((value) => isNear(value, sum))) continue;
      for (const { name, values } of constants) {
        if (values.some((value) => stated.some((each) => isNear(each, value)))) continue;
        wrong.push(`${name} is ${values.join(' or ')}, and not ${said.trim()}`);
      }
    }
    assert.deepEqual(wrong, []);
    assert.ok(compared > 30, `only ${compared} constants`);
  });
});

/** What stands in backquotes in the prose of a page. */
function words(page: string): string[] {
  const prose = text(page).replaceAll(/^```.*?^```/gms, '');
  return [...prose.matchAll(/`([^`\n]+)`/g)].map(([, word = '']) => word);
}

/** The numbers in a cell, in every unit that a constant may have. */
function valuesIn(cell: string): number[] {
  const units: Readonly<Record<string, number>> = {
    Ki: 1 << 10,
    KiB: 1 << 10,
    MiB: 1 << 20,
    GiB: 1 << 30,
    KB: 1e3,
    MB: 1e6,
    s: 1e3,
    second: 1e3,
    minute: 60e3,
    hour: 3600e3,
    day: 86_400e3,
  };
  return [...cell.matchAll(/(\d[\d,]*(?:\.\d+)?)(?:\s*([A-Za-z]+))?/g)].flatMap(([, digits = '', unit = '']) => {
    const number = Number(digits.replaceAll(',', ''));
    const factor = units[unit] ?? units[unit.replace(/s$/, '')];
    return factor === undefined ? [number] : [number, number * factor];
  });
}

/** The values of the constants of a name, if they are numbers. */
function constantsIn(source: string, name: string): number[] {
  const pattern = new RegExp(`\\b${name}(?: =|:) ([\\d_]+(?:\\.\\d+)?(?:e\\d+)?(?: (?:\\*|<<) [\\d_]+)*)[,;]`, 'g');
  return [...source.matchAll(pattern)].map(([, expression = '']) => valueOf(expression));
}

/** The value of a number, a product, or a number that is shifted to the left. */
function valueOf(expression: string): number {
  const [first = '', ...rest] = expression.replaceAll('_', '').split(/ (?=\*|<<)/);
  return rest.reduce((value, step) => {
    const [operator, operand] = step.split(' ');
    return value * (operator === '<<' ? 2 ** Number(operand) : Number(operand));
  }, Number(first));
}

function isNear(one: number, other: number): boolean {
  return Math.abs(one - other) <= 0.001 * Math.max(one, other);
}
