/** The clock of a lane, which also wakes it. */
export interface Clock {
  /** Milliseconds, never going back. */
  now(): number;
  /** Calls back once, after about `ms` milliseconds. @returns what takes that back */
  wake(ms: number, call: () => void): () => void;
}

/** What a lane carries: bytes, or null for the end of the stream. */
export type Parcel = Buffer | null;

/** The clock of this process. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wake(ms, call) {
    const timer = setTimeout(call, Math.max(1, Math.round(ms)));
    return () => clearTimeout(timer);
  },
};

/** Timers have a grain of a millisecond; what is due within half of it is due. */
const slackMs = 0.5;
/** What one flow may have waiting for the transmitter: 8 ms of 1 Gbit/s, so that a late timer costs no bandwidth. */
const maxWaitingBytes = 1024 * 1024;
/** What one flow may have on the way; more than any link of finite bandwidth here can hold. */
const maxFlyingBytes = 16 * 1024 * 1024;

/**
 * One direction of a link: a transmitter that all flows share in turn, parcel by parcel, and then a delay that is the
 * same for all. What a flow sends arrives in order. Nothing is lost, and there is no slow start.
 */
export class Lane {
  readonly #bytesPerMs: number;
  readonly #delayMs: number;
  readonly #clock: Clock;
  /** The flows with something to transmit, the next one first. */
  readonly #backlog: Flow[] = [];
  readonly #flying: { readonly at: number; readonly flow: Flow; readonly parcel: Parcel }[] = [];
  #transmitterFreeAt = 0;
  #ticking = false;
  #cancel: (() => void) | undefined;

  /** `bytesPerMs` may be Infinity. */
  constructor(bytesPerMs: number, delayMs: number, clock: Clock = systemClock) {
    this.#bytesPerMs = bytesPerMs;
    this.#delayMs = delayMs;
    this.#clock = clock;
  }

  /**
   * A new flow. `arrived` gets its parcels at the far end; `changed` is called when the flow may have become less full.
   */
  flow(arrived: (parcel: Parcel) => void, changed: () => void): Flow {
    return new Flow(arrived, changed, (flow) => this.#offer(flow));
  }

  #offer(flow: Flow): void {
    if (this.#backlog.length === 0) this.#transmitterFreeAt = Math.max(this.#transmitterFreeAt, this.#clock.now());
    this.#backlog.push(flow);
    if (!this.#ticking) this.#tick();
  }

  #tick(): void {
    this.#cancel?.();
    this.#ticking = true;
    const due = this.#clock.now() + slackMs;
    this.#transmit(due);
    while ((this.#flying[0]?.at ?? Infinity) <= due) {
      const next = this.#flying.shift();
      next?.flow.land(next.parcel);
    }
    this.#ticking = false;
    const next = Math.min(
      this.#backlog.length > 0 ? this.#transmitterFreeAt : Infinity,
      this.#flying[0]?.at ?? Infinity,
    );
    this.#cancel = next === Infinity ? undefined : this.#clock.wake(next - this.#clock.now(), () => this.#tick());
  }

  #transmit(due: number): void {
    while (this.#transmitterFreeAt <= due) {
      const flow = this.#backlog.shift();
      if (flow === undefined) return;
      const parcel = flow.takeOff();
      this.#transmitterFreeAt += (parcel?.length ?? 0) / this.#bytesPerMs;
      this.#flying.push({ at: this.#transmitterFreeAt + this.#delayMs, flow, parcel });
      if (flow.waiting) this.#backlog.push(flow);
    }
  }
}

/** What one connection sends in one direction. */
export class Flow {
  readonly #arrived: (parcel: Parcel) => void;
  readonly #changed: () => void;
  readonly #offer: (flow: Flow) => void;
  readonly #parcels: Parcel[] = [];
  #waitingBytes = 0;
  #flyingBytes = 0;

  constructor(arrived: (parcel: Parcel) => void, changed: () => void, offer: (flow: Flow) => void) {
    this.#arrived = arrived;
    this.#changed = changed;
    this.#offer = offer;
  }

  /** Whether the sender should pause. */
  get full(): boolean {
    return this.#waitingBytes >= maxWaitingBytes || this.#flyingBytes >= maxFlyingBytes;
  }

  /** Whether something waits for the transmitter. */
  get waiting(): boolean {
    return this.#parcels.length > 0;
  }

  send(parcel: Parcel): void {
    this.#waitingBytes += parcel?.length ?? 0;
    this.#parcels.push(parcel);
    if (this.#parcels.length === 1) this.#offer(this);
  }

  /** For the lane: the next parcel leaves the transmitter. */
  takeOff(): Parcel {
    const parcel = this.#parcels.shift() ?? null;
    const bytes = parcel?.length ?? 0;
    this.#waitingBytes -= bytes;
    this.#flyingBytes += bytes;
    this.#changed();
    return parcel;
  }

  /** For the lane: a parcel is there. */
  land(parcel: Parcel): void {
    this.#flyingBytes -= parcel?.length ?? 0;
    this.#arrived(parcel);
    this.#changed();
  }
}
