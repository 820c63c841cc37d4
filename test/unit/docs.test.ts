import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { avoidedWords } from '../../script/docs/words.ts';
import { ownPlaces } from '../../src/buildkit/places.ts';
import { statusText } from '../../src/cli/status-text.ts';
import { verdictText } from '../../src/cli/why.ts';
import { version } from '../../src/version.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const pages = ['README', 'CONTRIBUTING', 'CHANGELOG', 'SECURITY']
  .map((name) => `${name}.md`)
  .concat(globSync('docs/**/*.md', { cwd: root }));
const text = (page: string) => readFileSync(join(root, page), 'utf8');

const maxColumns = 120;

describe('the documentation', () => {
  it('links to what is there', () => {
    for (const page of pages) {
      const prose = text(page).replaceAll(/```.*?```|<!--.*?-->/gs, '');
      for (const [, target = ''] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(target)) continue;
        const [path = '', anchor] = target.split('#');
        const file = path === '' ? page : join(dirname(page), path);
        assert.ok(existsSync(join(root, file)), `${page}: ${target}`);
        if (anchor !== undefined) assert.ok(anchorsOf(file).includes(anchor), `${page}: ${target}`);
      }
    }
  });

  it('names files and folders that are there', () => {
    for (const page of pages) {
      for (const [, path = ''] of text(page).matchAll(/`((?:src|test|script|bench|proto)\/[\w./-]*)/g)) {
        assert.ok(isThere(path), `${page}: ${path}`);
      }
    }
  });

  it('has lines of 120 columns at most, but for tables', () => {
    for (const page of pages) {
      for (const [i, line] of text(page).split('\n').entries()) {
        assert.ok(
          line.length <= maxColumns || /^(\||<!--|!?\[[^\]]*\]\(\S+\)$)/.test(line),
          `${page}:${i + 1}: ${line}`,
        );
      }
    }
  });

  it('uses plain words', () => {
    for (const page of pages) assert.deepEqual(avoidedWords(text(page)), [], page);
    assert.deepEqual(avoidedWords('# Who asks\n\npeople who ask\nwhoever asks\n'), [{ line: 4, word: 'whoever' }]);
  });

  it('is reached from the README', () => {
    const linked = new Set(['README.md']);
    for (const page of linked) {
      for (const [, target = ''] of text(page).matchAll(/\]\(([^)#\s]+\.md)/g)) {
        if (!/^https?:/.test(target)) linked.add(join(dirname(page), target));
      }
    }
    assert.deepEqual(
      pages.filter((page) => !linked.has(page)),
      [],
    );
  });

  it('shows in the README what status and why print on a terminal of 80 columns', () => {
    const layer = (digest: string, contentBytes: number, presentBytes: number, bytesPerSecond: number) => ({
      digest: `sha256:${digest}${'0'.repeat(52)}`,
      references: ['registry.example/app:1-esgz'],
      mounts: 1,
      mountedMs: 0,
      blobBytes: contentBytes,
      contentBytes,
      presentBytes,
      fetchedBytes: presentBytes,
      bytesPerSecond,
      waiting: 0,
      errors: 0,
      clients: ['default'],
    });
    const layers = [layer('1c862951d497', 48_400_000, 3_200_000, 428_700), layer('20a2c1685898', 38, 38, 0)];
    const status = {
      version,
      startedMs: 0,
      layers,
      clients: [],
      cache: { bytes: 3_200_000, layers: 2 },
      mirror: undefined,
      problems: [],
      left: [],
    };
    const { snapshotter } = ownPlaces({});
    const shown = statusText(status, snapshotter, { nowMs: 126_000, columns: 80 });
    assert.ok(text('README.md').includes(`# lazypull status\n${shown}\`\`\`\n`), shown);
    const verdict = {
      reference: 'x',
      verdict: 'lazy',
      reason: undefined,
      message: '',
      advice: '',
      askedMs: undefined,
    } as const;
    const lines = [39_300_000, 1_200].map((bytes, i) => verdictText({ ...verdict, digest: layers[i]!.digest, bytes }));
    assert.ok(text('README.md').includes(`app:1-esgz\n${lines.join('')}# lazypull status`), lines.join(''));
  });

  it('quotes messages that the program has', () => {
    /** Of others: OpenSSL, runc, the kernel, BuildKit, GNU tar. */
    const foreign =
      /^(Value too large for defined data type|unable to verify the first certificate|self-signed certificate|exec: |Input\/output error|connection refused|no such file|unexpected nil descriptor|EOVERFLOW|Directory renamed before)/;
    const sources = globSync('src/**/*.ts', { cwd: root })
      .map((file) => text(file))
      .join('\n');
    const rows = text('docs/troubleshooting.md').matchAll(/^\| (`.*?) \|/gm);
    let quoted = 0;
    for (const [, cell = ''] of rows) {
      for (const [, message = ''] of cell.matchAll(/`([^`]+)`/g)) {
        if (foreign.test(message)) continue;
        const parts = message.split(/\.\.\.|\bN\b|\berofs\b|ENOSPC|401 Unauthorized/).map((part) => part.trim());
        for (const part of parts) {
          const words = part.replaceAll(/^[:;]\s*|\s*[:;]$/g, '');
          if (words === '') continue;
          assert.ok(sources.includes(words), `"${words}" of "${message}"`);
          quoted++;
        }
      }
    }
    assert.ok(quoted > 20, `only ${quoted} messages`);
  });
});

/** Whether a path of the repository is there; of a test, its extension may be left out. */
function isThere(path: string): boolean {
  return [path, `${path}.test.ts`, `${path}.ts`].some((each) => existsSync(join(root, each)));
}

/** The anchors that GitHub gives to the headings of a page. */
function anchorsOf(page: string): string[] {
  return text(page)
    .split('\n')
    .flatMap((line) => /^#+ (.*)$/.exec(line)?.[1] ?? [])
    .map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\- _]/gu, '')
        .replaceAll(' ', '-'),
    );
}
