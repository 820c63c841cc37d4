/**
 * What the rooms tell a tracer: pieces of work with a beginning and an end, within each other. `daemon/tracing.ts`
 * sends them to a collector of OpenTelemetry, if there is one; by default they cost nothing.
 */

/** What is known of a piece of work. */
export type SpanFields = Readonly<Record<string, string | number | boolean>>;

/** A piece of work that goes on. */
export interface Span {
  set(fields: SpanFields): void;
}

export interface Spans {
  /**
   * Does work as a span within the one that goes on, if there is one. A failure of the work is one of the span.
   *
   * @param parent a remote span, as in the header `traceparent` (https://www.w3.org/TR/trace-context/), if none goes on
   */
  within<T>(name: string, fields: SpanFields, work: (span: Span) => Promise<T>, parent?: string): Promise<T>;
  /** Notes a piece of work that is over, within none. @param ms how long it took */
  past(name: string, ms: number, fields: SpanFields): void;
}

const noSpan: Span = { set: () => undefined };

/** Traces nothing. */
export const noSpans: Spans = {
  within: (_name, _fields, work) => work(noSpan),
  past: () => undefined,
};
