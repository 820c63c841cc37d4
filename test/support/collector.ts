import { createServer, type IncomingMessage, type Server } from 'node:http';
import { until } from './until.ts';

/** A span as OTLP has it in JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding). */
export interface ReceivedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly { readonly key: string; readonly value: Record<string, unknown> }[];
  readonly status: { readonly code?: number; readonly message?: string };
}

interface Received {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: ReceivedSpan['attributes'] };
    readonly scopeSpans: readonly { readonly spans: readonly ReceivedSpan[] }[];
  }[];
}

/** A collector of OpenTelemetry: takes spans by OTLP over HTTP in JSON, and keeps them. */
export class Collector implements AsyncDisposable {
  readonly spans: ReceivedSpan[] = [];
  /** What sent the last spans. */
  resource: ReceivedSpan['attributes'] = [];
  readonly paths: string[] = [];
  readonly #server: Server;

  /** @param answers whether it answers; otherwise it takes requests and keeps their callers waiting */
  static async open(answers = true): Promise<Collector> {
    const collector = new Collector(answers);
    await new Promise<void>((resolve) => collector.#server.listen(0, '127.0.0.1', resolve));
    return collector;
  }

  private constructor(answers: boolean) {
    this.#server = createServer((request, response) => {
      this.paths.push(request.url ?? '');
      void textOf(request).then((text) => {
        if (!answers) return;
        this.#take(JSON.parse(text) as Received);
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
      });
    });
  }

  get endpoint(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  }

  /** Waits for a span of that name. */
  async span(name: string): Promise<ReceivedSpan> {
    await until(
      () => this.spans.some((span) => span.name === name),
      () => `no span "${name}"`,
    );
    return this.spans.find((span) => span.name === name)!;
  }

  /** Waits for something that spans bring. */
  async until(look: () => boolean): Promise<void> {
    await until(look, () => `spans came of ${this.spans.map(({ name }) => name).join(', ')}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #take({ resourceSpans }: Received): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      this.resource = resource.attributes;
      for (const { spans } of scopeSpans) this.spans.push(...spans);
    }
  }
}

/** The fields of a span or a resource. */
export function fieldsOf(attributes: ReceivedSpan['attributes']): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}
