import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLog } from '../../src/process-log.ts';
import { repository } from '../support/tools.ts';

const page = readFileSync(join(repository, 'docs', 'log.md'), 'utf8');
const sources = globSync('src/**/*.ts', { cwd: repository }).map((name) =>
  readFileSync(join(repository, name), 'utf8'),
);

/** The names in code in a cell of a table. */
const namesIn = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);

const fields = [...page.matchAll(/^\| (`[a-zA-Z]+`(?:, `[a-zA-Z]+`)*) \| [^|]+ \|$/gm)].flatMap(([, cell]) =>
  namesIn(cell!),
);
const events = [...page.matchAll(/^\| (debug|info|warn|error|fatal) \| `([^`]+)` \| ([^|]*) \| [^|]+ \|$/gm)].map(
  ([, level, message, names]) => ({ level: level!, message: message!, fields: namesIn(names!) }),
);

/** Which level a message is logged at in a source: that of the nearest call before it. */
function levelOf(source: string, at: number): string | undefined {
  return [...source.slice(Math.max(0, at - 1000), at).matchAll(/[.#\b](debug|info|warn|error|fatal|die)\(/g)].at(
    -1,
  )?.[1];
}

test('docs/log.md lists events that the daemon logs, at their levels and with their fields', () => {
  assert.ok(events.length > 20);
  for (const { level, message, fields: named } of events) {
    const source = sources.find((text) => text.includes(`'${message}'`));
    assert.ok(source !== undefined, `no source logs "${message}"`);
    const found = levelOf(source, source.indexOf(`'${message}'`));
    assert.equal(found === 'die' ? 'fatal' : found, level, message);
    for (const field of named) {
      assert.match(source, new RegExp(`\\b${field}\\b`), `"${message}" has no field "${field}"`);
    }
  }
});

test('docs/log.md lists fields that the daemon logs', () => {
  assert.ok(fields.length > 10);
  const own = ['level', 'time', 'msg'];
  for (const field of fields.filter((name) => !own.includes(name))) {
    const isLogged = new RegExp(
      `\\b(debug|info|warn|error|fatal)\\(\\s*\\{[^}]*\\b${field}\\b|fields = \\{[^}]*\\b${field}\\b`,
    );
    assert.ok(
      sources.some((text) => isLogged.test(text)),
      `no line of the log has "${field}"`,
    );
  }
});

test('createLog writes lines with the fields that docs/log.md says every line has', () => {
  const lines: string[] = [];
  const log = createLog('info', 'json', { write: (line: string) => void lines.push(line) });
  log.warn({ layer: 'sha256:0', error: 'bad \u202e\u001b[2J' }, 'an event');
  const line = JSON.parse(lines[0]!) as Record<string, unknown>;
  assert.deepEqual([line.level, line.msg, line.layer], ['warn', 'an event', 'sha256:0']);
  assert.match(String(line.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(!lines[0]!.includes('\u202e') && !lines[0]!.includes('\u001b'));
});
