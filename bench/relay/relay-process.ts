import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { LinkShape } from '../link.ts';
import type { Answer, Question } from './process.ts';
import type { Traffic } from './shaped-link.ts';

type Ask = Question extends infer Q ? (Q extends Question ? Omit<Q, 'number'> : never) : never;

/** A link that is open in the process of the relay. */
export interface OpenLink {
  readonly shape: LinkShape;
  readonly port: number;
  /** The registry at the end of the link, as references name it. */
  readonly host: string;
  /** What went over the link since it was asked last. */
  take(): Promise<Traffic>;
}

/** The relay in a process of its own, so that it shares no event loop with what is measured. It ends when we do. */
export class RelayProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  #numbers = 0;

  constructor() {
    this.#child = fork(join(import.meta.dirname, 'process.ts'), {
      serialization: 'advanced',
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (answer: Answer) => {
      this.#asked.get(answer.number)?.resolve(answer);
      this.#asked.delete(answer.number);
    });
    this.#child.once('exit', (code) => {
      for (const asked of this.#asked.values()) asked.reject(new Error(`The relay ended with status ${code}`));
      this.#asked.clear();
    });
  }

  /** Opens a link to the registry on `upstreamPort`. */
  async open(shape: LinkShape, upstreamPort: number): Promise<OpenLink> {
    const answer = await this.#ask({ ask: 'open', shape, upstreamPort });
    if (!('port' in answer)) throw new Error('The relay opened no link');
    const { port } = answer;
    return { shape, port, host: `localhost:${port}`, take: () => this.#take(port) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.disconnect();
    await ended;
  }

  async #take(port: number): Promise<Traffic> {
    const answer = await this.#ask({ ask: 'take', port });
    if (!('traffic' in answer)) throw new Error('The relay told no traffic');
    return answer.traffic;
  }

  async #ask(ask: Ask): Promise<Answer> {
    const number = ++this.#numbers;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#asked.set(number, { resolve, reject });
    this.#child.send({ number, ...ask });
    const answer = await promise;
    if ('error' in answer) throw new Error(`The relay: ${answer.error}`);
    return answer;
  }
}
