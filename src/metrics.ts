/**
 * Metrics: counters, gauges and histograms, and their text for Prometheus. It knows no metric by name.
 *
 * A new metric is declared in the `metrics.ts` of the room that it is about, and counted where the thing happens.
 * `daemon/metrics.ts` joins the rooms, and `docs/metrics.md` has a row for each, which a test compares.
 */

/** Label names, each with all its values; an empty list if they are not known beforehand. */
export type Labels = Readonly<Record<string, readonly string[]>>;

/** A value for each label. */
export type LabelValues<L extends Labels> = {
  readonly [K in keyof L]: L[K][number] extends never ? string : L[K][number];
};

export type MetricType = 'counter' | 'gauge' | 'histogram';

/** The description of a metric. */
export interface MetricDescription {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly labels: readonly string[];
  /** The values of labels, if they are known beforehand. */
  readonly values: Labels;
}

/** A number, or a function that reads it when the metrics are asked for. */
type Source = number | (() => number | Promise<number>);

const namePattern = /^(lazypull|process)_[a-z]+(_[a-z]+)*$/;

/** How many combinations of label values one metric keeps; all further ones are counted together, as `other`. */
const maxSeries = 256;

/**
 * The metrics of one process, in the text format of Prometheus
 * (https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4). A metric is declared once, by the room
 * that it is about. Counters count up from 0 and their names end in `_total`; units are bytes and seconds.
 */
export class MetricsRegistry {
  readonly #metrics = new Map<string, Metric>();

  counter<const L extends Labels = Record<never, never>>(name: string, help: string, labels?: L): Counter<L> {
    if (!name.endsWith('_total')) throw new Error(`The name of the counter "${name}" does not end in "_total"`);
    return this.#declare(new Counter<L>({ name, help, type: 'counter', labels: labels ?? {} }));
  }

  gauge<const L extends Labels = Record<never, never>>(name: string, help: string, labels?: L): Gauge<L> {
    return this.#declare(new Gauge<L>({ name, help, type: 'gauge', labels: labels ?? {} }));
  }

  /** @param bounds upper bounds of the buckets, ascending, without the infinite one */
  histogram<const L extends Labels = Record<never, never>>(
    name: string,
    help: string,
    bounds: readonly number[],
    labels?: L,
  ): Histogram<L> {
    return this.#declare(new Histogram<L>({ name, help, type: 'histogram', labels: labels ?? {} }, bounds));
  }

  /** All declared metrics, in the order of declaration. */
  get descriptions(): readonly MetricDescription[] {
    return [...this.#metrics.values()].map(({ spec }) => ({
      ...spec,
      labels: Object.keys(spec.labels),
      values: spec.labels,
    }));
  }

  /** All metrics as Prometheus reads them. If a source fails, its line is left out. */
  async text(): Promise<string> {
    const lines: string[] = [];
    for (const metric of this.#metrics.values()) {
      const { name, help, type } = metric.spec;
      lines.push(`# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`, `# TYPE ${name} ${type}`);
      lines.push(...(await metric.lines()));
    }
    return `${lines.join('\n')}\n`;
  }

  #declare<M extends Metric>(metric: M): M {
    const { name } = metric.spec;
    if (!namePattern.test(name) || this.#metrics.has(name)) throw new Error(`Cannot declare the metric "${name}"`);
    this.#metrics.set(name, metric);
    return metric;
  }
}

interface Spec {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly labels: Labels;
}

/** A metric with a series for each combination of label values. The labels, as they are written, are the key. */
abstract class Metric<L extends Labels = Labels> {
  readonly spec: Spec;

  constructor(spec: Spec) {
    this.spec = spec;
  }

  abstract lines(): Promise<string[]>;

  /** The text between the braces of a line; '' without labels. */
  protected key(values: LabelValues<L> | undefined, known: ReadonlyMap<string, unknown>): string {
    const names = Object.keys(this.spec.labels);
    const key = names.map((name) => pair(name, values?.[name] ?? '')).join(',');
    if (known.has(key) || known.size < maxSeries) return key;
    return names.map((name) => pair(name, 'other')).join(',');
  }

  /** The series that exist from the start, so that their graphs begin at 0. */
  protected get firstKeys(): string[] {
    const labels = Object.entries(this.spec.labels);
    if (labels.length === 0) return [''];
    const [name, values] = labels[0]!;
    return labels.length === 1 ? values.map((value) => pair(name, value)) : [];
  }
}

/** The common part of counters and gauges: one number for each series. */
abstract class Numbers<L extends Labels> extends Metric<L> {
  protected readonly series = new Map<string, Source>();

  /** Reads the number from `source` whenever the metrics are asked for. */
  from(source: () => number | Promise<number>, ...[labels]: Arguments<L>): void {
    this.series.set(this.key(labels, this.series), source);
  }

  async lines(): Promise<string[]> {
    const lines: string[] = [];
    for (const [key, source] of this.series) {
      try {
        lines.push(line(this.spec.name, key, typeof source === 'number' ? source : await source()));
      } catch {
        // The source is closed.
      }
    }
    return lines;
  }
}

/** Labels are given if there are any. */
type Arguments<L extends Labels> = keyof L extends never ? [] : [labels: LabelValues<L>];

/** A number that only grows. */
export class Counter<L extends Labels> extends Numbers<L> {
  constructor(spec: Spec) {
    super(spec);
    for (const key of this.firstKeys) this.series.set(key, 0);
  }

  add(by: number, ...[labels]: Arguments<L>): void {
    const key = this.key(labels, this.series);
    const now = this.series.get(key) ?? 0;
    if (typeof now === 'number') this.series.set(key, now + by);
  }
}

/** A number that goes up and down. */
export class Gauge<L extends Labels> extends Numbers<L> {
  set(value: number, ...[labels]: Arguments<L>): void {
    this.series.set(this.key(labels, this.series), value);
  }
}

/** A distribution: how often a value was how large. */
export class Histogram<L extends Labels> extends Metric<L> {
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, { counts: Float64Array; sum: number }>();

  constructor(spec: Spec, bounds: readonly number[]) {
    super(spec);
    this.#bounds = bounds;
    for (const key of this.firstKeys) this.#at(key);
  }

  observe(value: number, ...[labels]: Arguments<L>): void {
    const series = this.#at(this.key(labels, this.#series));
    let bucket = 0;
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]!) bucket++;
    series.counts[bucket]!++;
    series.sum += value;
  }

  lines(): Promise<string[]> {
    const { name } = this.spec;
    const lines: string[] = [];
    for (const [key, { counts, sum }] of this.#series) {
      const prefix = key === '' ? '' : `${key},`;
      let total = 0;
      for (const [i, count] of counts.entries()) {
        total += count;
        lines.push(line(`${name}_bucket`, `${prefix}${pair('le', String(this.#bounds[i] ?? '+Inf'))}`, total));
      }
      lines.push(line(`${name}_sum`, key, sum), line(`${name}_count`, key, total));
    }
    return Promise.resolve(lines);
  }

  #at(key: string): { counts: Float64Array; sum: number } {
    let series = this.#series.get(key);
    if (series === undefined) {
      series = { counts: new Float64Array(this.#bounds.length + 1), sum: 0 };
      this.#series.set(key, series);
    }
    return series;
  }
}

function line(name: string, key: string, value: number): string {
  return `${name}${key === '' ? '' : `{${key}}`} ${value}`;
}

function pair(name: string, value: string): string {
  return `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}
