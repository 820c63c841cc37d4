import { LazypullError } from '../errors.ts';

/** Answers under way at a time: each holds a message of up to 16 MiB, several times. */
const maxTurns = 4;

/** Calls that may wait for a turn. */
const maxWaiting = 4096;

/** How long a call waits. */
export interface Patience {
  /**
   * How often the progress of clients is checked. Times are counted in checks, so that a busy moment of this process
   * does not count against a client.
   */
  readonly lookMs: number;
  /**
   * A client that has taken nothing during so many checks gives its turn to a waiting call. If none waits, it is given
   * up after more checks.
   */
  readonly silentLooks: number;
  readonly deadLooks: number;
  /** After so many checks of one message a client gives its turn to a waiting call, even if it makes progress. */
  readonly slowLooks: number;
}

const defaultPatience: Patience = { lookMs: 200, silentLooks: 5, deadLooks: 300, slowLooks: 150 };

/** One call's turn, until it is disposed of. */
export interface Turn extends Disposable {
  /** Whether the turn was taken away, because the client reads nothing. */
  readonly isLost: boolean;
  /**
   * Waits for a client to take a message. Rejects if that takes too long, or `gone` aborts.
   *
   * @param taken a number that grows while the client takes something
   */
  taken(message: Promise<void>, taken: () => number): Promise<void>;
}

/**
 * Bounds the memory of answers of many messages to clients that do not read them. Only a few calls have their turn at a
 * time, and a call whose client takes nothing loses it.
 */
export class Turns {
  readonly #patience: Patience;
  readonly #turns = new Set<OwnTurn>();
  readonly #waiting: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(patience: Patience = defaultPatience) {
    this.#patience = patience;
  }

  /**
   * Waits for a turn.
   *
   * @param gone aborts when the client is gone: then this rejects, and so does `taken`
   * @throws ResourceExhausted if too many wait already
   */
  async take(gone: AbortSignal): Promise<Turn> {
    if (this.#turns.size >= maxTurns) await this.#wait(gone);
    gone.throwIfAborted();
    const turn = new OwnTurn(gone, () => this.#leave(turn));
    this.#turns.add(turn);
    this.#watch();
    return turn;
  }

  async #wait(gone: AbortSignal): Promise<void> {
    if (this.#waiting.length >= maxWaiting) throw new LazypullError('ResourceExhausted', 'Too many calls are waiting');
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    this.#watch();
    gone.addEventListener('abort', () => resolve(), { once: true });
    try {
      await promise;
    } finally {
      const at = this.#waiting.indexOf(resolve);
      if (at >= 0) this.#waiting.splice(at, 1);
    }
  }

  #leave(turn: OwnTurn): void {
    if (!this.#turns.delete(turn)) return;
    this.#waiting.shift()?.();
  }

  #watch(): void {
    this.#timer ??= setInterval(() => this.#look(), this.#patience.lookMs).unref();
  }

  /** Takes turns away from clients that take nothing: as many as others wait for. */
  #look(): void {
    const { silentLooks, deadLooks, slowLooks } = this.#patience;
    for (const turn of this.#turns) turn.look();
    let wanted = this.#waiting.length;
    for (const turn of [...this.#turns].toSorted((a, b) => b.silent - a.silent)) {
      const isInTheWay = wanted > 0 && (turn.silent >= silentLooks || turn.looks >= slowLooks);
      if (!isInTheWay && turn.silent < deadLooks) continue;
      wanted--;
      turn.end();
    }
    if (this.#turns.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

class OwnTurn implements Turn {
  /** Checks since it began to wait for its client, and since the client took something. */
  looks = 0;
  silent = 0;
  isLost = false;
  /** Set while it waits for its client. */
  #taken: (() => number) | undefined;
  #before = 0;
  readonly #leave: () => void;
  readonly #ended = Promise.withResolvers<never>();

  constructor(gone: AbortSignal, leave: () => void) {
    this.#leave = leave;
    this.#ended.promise.catch(() => undefined);
    gone.addEventListener('abort', () => this.#ended.reject(new LazypullError('Canceled', 'The client is gone')), {
      once: true,
    });
  }

  async taken(message: Promise<void>, taken: () => number): Promise<void> {
    this.#taken = taken;
    this.#before = taken();
    await Promise.race([message, this.#ended.promise]);
    this.#taken = undefined;
    this.looks = this.silent = 0;
  }

  look(): void {
    if (this.#taken === undefined) return;
    const now = this.#taken();
    this.looks++;
    this.silent = now === this.#before ? this.silent + 1 : 0;
    this.#before = now;
  }

  end(): void {
    this.isLost = true;
    this.#ended.reject(new LazypullError('ResourceExhausted', 'The client does not read the answer'));
    this.#leave();
  }

  [Symbol.dispose](): void {
    this.#leave();
  }
}
