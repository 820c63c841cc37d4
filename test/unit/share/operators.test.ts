import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { daemonMetrics } from '../../../src/daemon/metrics.ts';
import { repository } from '../../support/tools.ts';

const file = (...path: string[]): string => readFileSync(join(repository, ...path), 'utf8');
const rules = file('share', 'prometheus', 'lazypull.rules.yml');
const rulesTest = file('share', 'prometheus', 'lazypull.test.yml');
const dashboard = JSON.parse(file('share', 'grafana', 'lazypull.json')) as Dashboard;
const declared = new Map(daemonMetrics().all.descriptions.map((metric) => [metric.name, metric]));

interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string; refId: string }[];
  fieldConfig?: { defaults: { unit?: string } };
}

interface Dashboard {
  panels: Panel[];
  templating: { list: { name: string }[] };
}

/** Labels that Prometheus and Grafana add, beside those of the metric. */
const addedLabels = ['job', 'instance', 'le'];

/** Names that an expression may use beside metrics of the daemon. */
const otherMetrics = ['up'];

/**
 * Asserts that the metrics of an expression of PromQL are declared, with the labels and values that it selects by, and
 * that it groups by labels which they have.
 */
function assertKnown(expression: string): void {
  const selectors = [...expression.matchAll(/\b((?:lazypull|process)_[a-z_]+|up\b)(?:\{([^}]*)\})?/g)];
  assert.ok(selectors.length > 0, `no metric in "${expression}"`);
  const labels = new Set(addedLabels);
  for (const [, name, matchers = ''] of selectors) {
    if (otherMetrics.includes(name!)) continue;
    const base = name!.replace(/_(bucket|sum|count)$/, '');
    const metric = declared.get(name!) ?? declared.get(base);
    assert.ok(metric !== undefined, `there is no metric "${name}"`);
    assert.equal(metric.type === 'histogram', metric.name !== name, `"${name}" is a ${metric.type}`);
    if (name!.endsWith('_total')) assert.match(expression, /\b(rate|increase|changes)\(/);
    for (const label of metric.labels) labels.add(label);
    for (const [, label, operator, value] of matchers.matchAll(/([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)) {
      assert.ok([...addedLabels, ...metric.labels].includes(label!), `"${name}" has no label "${label}"`);
      const values = metric.values[label!] ?? [];
      if (values.length === 0) continue;
      for (const each of operator!.endsWith('~') ? value!.split('|') : [value!]) {
        assert.ok(values.includes(each), `"${name}" never has ${label}="${each}"`);
      }
    }
  }
  for (const [, list] of expression.matchAll(/\bby \(([^)]*)\)/g)) {
    for (const label of list!.split(/,\s*/)) assert.ok(labels.has(label), `"${expression}" has no label "${label}"`);
  }
}

/** The alerts, with their expressions. */
const alerts = [...rules.matchAll(/- alert: (\w+)\n((?: {8}.*\n|\n)+)/g)].map(([, name, body]) => {
  const block = /expr: \|\n((?: {10}.*\n)+)/.exec(body!)?.[1];
  const inline = /expr: (?:'(.*)'|(.*))\n/.exec(body!);
  return { name: name!, body: body!, expression: block ?? inline?.[1] ?? inline?.[2] ?? '' };
});

test('lazypull.rules.yml uses metrics, labels and values that the daemon has', () => {
  assert.ok(alerts.length >= 15);
  assert.equal(alerts.length, rules.match(/- alert:/g)?.length);
  for (const { expression } of alerts) assertKnown(expression);
});

test('lazypull.rules.yml has a severity, a summary and a runbook for each alert, which a page has', () => {
  const page = file('docs', 'operating.md');
  for (const { name, body } of alerts) {
    assert.match(body, /severity: (critical|warning)/);
    assert.match(body, /summary: '.+'/);
    assert.ok(body.includes(`runbook: 'docs/operating.md#${name.toLowerCase()}'`), name);
    assert.ok(page.includes(`### ${name}\n`), `docs/operating.md does not say what to do about ${name}`);
  }
  const described = [...page.matchAll(/^### (Lazypull\w+)$/gm)].map(([, name]) => name!);
  assert.deepEqual(described.sort(), alerts.map(({ name }) => name).sort());
});

test('lazypull.test.yml tries that each alert fires, and that it is silent if all is well', () => {
  for (const { name } of alerts) {
    assert.ok(rulesTest.includes(`- name: ${name} fires\n`), name);
    assert.ok(rulesTest.includes(`alertname: ${name}, exp_alerts: []`), name);
  }
});

test('lazypull.json uses metrics, labels and values that the daemon has', () => {
  for (const { expr } of dashboard.panels.flatMap(({ targets = [] }) => targets)) {
    assertKnown(expr.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '6h').replaceAll('"$', '"'));
    for (const [, variable] of expr.matchAll(/\$(?!__)(\w+)/g)) {
      assert.ok(
        dashboard.templating.list.some(({ name }) => name === variable),
        `no variable "${variable}"`,
      );
    }
  }
});

test('lazypull.json shows every metric of the daemon, but for those that only people look up', () => {
  const shown = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)).join('\n');
  const unseen = [...declared.keys()].filter((name) => !new RegExp(`\\b${name}(_bucket)?\\b`).test(shown));
  assert.deepEqual(unseen.sort(), [
    'lazypull_build_info',
    'lazypull_event_loop_delay_seconds',
    'lazypull_event_loop_own_delay_seconds',
    'lazypull_grpc_requests_total',
    'lazypull_layers_fetch_failures_total',
    'lazypull_layers_fetches_total',
    'lazypull_layers_unpack_queue_bytes',
    'lazypull_memory_external_bytes',
    'lazypull_mirror_requests_total',
    'lazypull_mirror_reused_bytes_total',
    'lazypull_snapshots_stored',
    'process_start_time_seconds',
  ]);
});

test('lazypull.json has panels with a description and a unit, which do not overlap', () => {
  const { panels } = dashboard;
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const panel of panels.filter(({ type }) => type !== 'row')) {
    assert.ok(panel.description && panel.fieldConfig?.defaults.unit, panel.title);
  }
  const boxes = panels.map(({ gridPos: { x, y, w, h } }) => ({ left: x, top: y, right: x + w, bottom: y + h }));
  for (const [i, a] of boxes.entries()) {
    assert.ok(a.right <= 24);
    for (const b of boxes.slice(i + 1)) {
      const isApart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
      assert.ok(isApart, `${panels[i]?.title} overlaps another panel`);
    }
  }
});
