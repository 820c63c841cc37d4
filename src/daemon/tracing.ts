import { AsyncLocalStorage } from 'node:async_hooks';
import type { Context, Span as OtelSpan } from '@opentelemetry/api';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import { codeOf, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { noSpans, type Span, type SpanFields, type Spans } from '../spans.ts';
import { version } from '../version.ts';

/** Spans that wait to be sent; further ones are dropped. */
const maxWaitingSpans = 2048;

/** The longest text of a field. */
const maxTextLength = 1024;

/** How long spans are collected before they are sent. */
const batchMs = 5_000;

/** How long a collector has to take spans, and how long a daemon that ends waits for that. */
const exportMs = 10_000;
const lastExportMs = 1_000;

/** At most one line of the log in so long says that a collector takes nothing. */
const complaintPauseMs = 60_000;

/** Spans that are sent until it is disposed of. */
export type OpenSpans = Spans & AsyncDisposable;

/**
 * Spans for the collector that the environment names, as OpenTelemetry's SDKs read it: OTEL_EXPORTER_OTLP_ENDPOINT and
 * its like. If it names none, nothing of OpenTelemetry is loaded. A collector that does not answer delays nothing: the
 * log says so, and spans are dropped.
 */
export async function openSpans(env: NodeJS.ProcessEnv, log: Log): Promise<OpenSpans> {
  const none = { ...noSpans, [Symbol.asyncDispose]: () => Promise.resolve() };
  const endpoint = endpointOf(env);
  if (endpoint === '' || env.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || env.OTEL_TRACES_EXPORTER === 'none')
    return none;
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    log.warn({ endpoint }, 'cannot send traces: the endpoint is not a URL of http or https');
    return none;
  }
  try {
    const spans = await load(env, log);
    log.info({ endpoint: withoutSecrets(endpoint) }, 'sends traces');
    return spans;
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'cannot send traces: OpenTelemetry cannot be loaded');
    return none;
  }
}

/**
 * Where traces go; '' for nowhere. See "Endpoint URLs for OTLP/HTTP" in
 * https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
 */
function endpointOf({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT }: NodeJS.ProcessEnv): string {
  if (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) return OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;
  return OTEL_EXPORTER_OTLP_ENDPOINT ? `${OTEL_EXPORTER_OTLP_ENDPOINT.replace(/\/$/, '')}/v1/traces` : '';
}

async function load(env: NodeJS.ProcessEnv, log: Log): Promise<OpenSpans> {
  const api = await import('@opentelemetry/api');
  const { BatchSpanProcessor, TracerProvider } = await import('@opentelemetry/sdk-trace');
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http');
  const { defaultResource, resourceFromAttributes } = await import('@opentelemetry/resources');
  const resource = defaultResource()
    .merge(resourceFromAttributes(resourceFields(env.OTEL_RESOURCE_ATTRIBUTES)))
    .merge(resourceFromAttributes({ 'service.name': env.OTEL_SERVICE_NAME || 'lazypull', 'service.version': version }));
  const exporter = withComplaints(new OTLPTraceExporter({ url: endpointOf(env), timeoutMillis: exportMs }), log);
  const batches = new BatchSpanProcessor({
    exporter,
    maxQueueSize: maxWaitingSpans,
    scheduledDelayMillis: Number(env.OTEL_BSP_SCHEDULE_DELAY) || batchMs,
    exportTimeoutMillis: exportMs,
  });
  const spanLimits = { attributeValueLengthLimit: maxTextLength };
  const provider = new TracerProvider({ resource, spanLimits, spanProcessors: [batches] });
  const tracer = provider.getTracer('lazypull', version);
  const now = new AsyncLocalStorage<Context>();

  const contextOf = (parent: string | undefined): Context => {
    const current = now.getStore();
    if (current !== undefined) return current;
    const remote = remoteSpan(parent);
    return remote === undefined ? api.ROOT_CONTEXT : api.trace.setSpanContext(api.ROOT_CONTEXT, remote);
  };
  const fail = (span: OtelSpan, error: unknown): void => {
    span.setAttribute('error.type', codeOf(error));
    span.setStatus({ code: api.SpanStatusCode.ERROR, message: messageOf(error).slice(0, maxTextLength) });
  };
  return {
    async within<T>(name: string, fields: SpanFields, work: (span: Span) => Promise<T>, parent?: string): Promise<T> {
      const context = contextOf(parent);
      const span = tracer.startSpan(name, { attributes: { ...fields } }, context);
      const set = (more: SpanFields): void => void span.setAttributes({ ...more });
      try {
        return await now.run(api.trace.setSpan(context, span), () => work({ set }));
      } catch (error) {
        fail(span, error);
        throw error;
      } finally {
        span.end();
      }
    },
    past(name, ms, fields) {
      const end = Date.now();
      tracer.startSpan(name, { attributes: { ...fields }, startTime: end - ms }, api.ROOT_CONTEXT).end(end);
    },
    async [Symbol.asyncDispose]() {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, lastExportMs);
      await Promise.race([promise, provider.shutdown().catch(() => undefined)]);
      clearTimeout(timer);
    },
  };
}

/** Fields of a resource, as OTEL_RESOURCE_ATTRIBUTES has them: `key=value,key=value`. */
function resourceFields(text = ''): Record<string, string> {
  const pairs = text.split(',').map((pair) => /^\s*([^=\s]+)\s*=(.*)$/.exec(pair));
  return Object.fromEntries(pairs.flatMap((pair) => (pair === null ? [] : [[pair[1]!, decoded(pair[2]!.trim())]])));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The remote span of a `traceparent` of version 0, or of a later one that begins like it. */
export function remoteSpan(
  text = '',
): { traceId: string; spanId: string; traceFlags: number; isRemote: true } | undefined {
  const match = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/.exec(text);
  const [, traceId = '', spanId = '', flags = ''] = match ?? [];
  if (match === null || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true };
}

/** The same exporter, whose failures are told in the log, but not often. */
function withComplaints(exporter: SpanExporter, log: Log): SpanExporter {
  let complainedMs = Number.NEGATIVE_INFINITY;
  return {
    export(spans: ReadableSpan[], done) {
      exporter.export(spans, (result) => {
        const nowMs = performance.now();
        if (result.error !== undefined && nowMs - complainedMs > complaintPauseMs) {
          complainedMs = nowMs;
          log.warn({ error: messageOf(result.error), spans: spans.length }, 'a collector does not take traces');
        }
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
  };
}

function withoutSecrets(endpoint: string): string {
  const { origin, pathname } = new URL(endpoint);
  return `${origin}${pathname}`;
}
