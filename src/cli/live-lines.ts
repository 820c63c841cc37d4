import type { WriteStream } from 'node:tty';
import { displayWidth } from './layout.ts';

/** More often than that it cannot be read. */
const redrawMs = 100;

/**
 * Lines that are written for good, and below them, on a terminal, lines that say how far something is and are drawn
 * over themselves. Elsewhere than on a terminal there are none of those.
 */
export class LiveLines implements Disposable {
  readonly #stream: WriteStream;
  readonly #lines: (columns: number) => readonly string[];
  readonly #timer: NodeJS.Timeout | undefined;
  #drawn = 0;

  /** @param lines what is shown now; those that are wider than `columns` are cut */
  constructor(stream: WriteStream, env: NodeJS.ProcessEnv, lines: (columns: number) => readonly string[]) {
    this.#stream = stream;
    this.#lines = lines;
    if (stream.isTTY && env.TERM !== 'dumb') this.#timer = setInterval(() => this.#draw(), redrawMs).unref();
  }

  /** Writes a line for good, above those that change. */
  say(text: string): void {
    this.#stream.write(`${this.#back()}${text}\n`);
  }

  /** Takes the lines that change away. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    const back = this.#back();
    if (back !== '') this.#stream.write(back);
  }

  #draw(): void {
    const columns = (this.#stream.columns || 80) - 1;
    const lines = this.#lines(columns).slice(0, Math.max(1, (this.#stream.rows || 24) - 1));
    const shown = lines.map((line) => cut(line, columns));
    this.#stream.write(`${this.#back()}${shown.map((line) => `${line}\n`).join('')}`);
    this.#drawn = shown.length;
  }

  /** What takes the lines away that were drawn last. */
  #back(): string {
    const back = this.#drawn === 0 ? '' : `\x1b[${this.#drawn}A\x1b[J`;
    this.#drawn = 0;
    return back;
  }
}

function cut(line: string, columns: number): string {
  let shown = '';
  for (const character of line) {
    if (displayWidth(shown + character) > columns) break;
    shown += character;
  }
  return shown;
}

/** `4s`, `3m 4s` or `2h 3m`; '' for what is not known. */
export function timeText(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds > maxSeconds) return '';
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
}

/** A longer list would tell nothing. */
const maxSeconds = 99 * 3600;
