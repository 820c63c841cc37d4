import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const stopMs = 20_000;
const pollMs = 25;
const logTailLines = 25;

/** What to run: `log` receives standard output and error, and `name` is what errors call it. */
export interface ProgramSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly log: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/**
 * A program that runs in the background until it is disposed of. It has a session of its own, so that ctrl-C in a
 * terminal reaches only us and we stop things in the right order, and the kernel kills it if we die.
 */
export class Program implements AsyncDisposable {
  readonly spec: ProgramSpec;
  readonly #child: ChildProcess;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
  #outcome: string | undefined;

  constructor(spec: ProgramSpec) {
    this.spec = spec;
    const fd = openSync(spec.log, 'a');
    try {
      this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', spec.command, ...spec.args], {
        stdio: ['ignore', fd, fd],
        detached: true,
        env: { ...process.env, ...spec.env },
        ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
      });
    } finally {
      closeSync(fd);
    }
    this.ended = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        this.#outcome = `cannot be started: ${error.message}`;
        resolve();
      });
      this.#child.once('exit', (code, signal) => {
        this.#outcome = signal === null ? `ended with status ${code}` : `was ended by ${signal}`;
        resolve();
      });
    });
  }

  /** The process id; the program must have been started without an error. */
  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.spec.name} has no process`);
    return this.#child.pid;
  }

  /** How it ended, or undefined while it runs. */
  get outcome(): string | undefined {
    return this.#outcome;
  }

  /** Everything that it wrote so far. */
  get output(): string {
    return readFileSync(this.spec.log, 'utf8');
  }

  /**
   * Waits until `ready` answers true; an end of the program before that, or `timeoutMs`, is an error with the end of
   * its log.
   */
  async ready(ready: () => Promise<boolean>, timeoutMs = 30_000): Promise<this> {
    const deadline = Date.now() + timeoutMs;
    while (!(await ready())) {
      if (this.#outcome !== undefined) throw new Error(`${this.spec.name} ${this.#outcome}${this.#tail()}`);
      if (Date.now() > deadline) throw new Error(`${this.spec.name} is not ready after ${timeoutMs} ms${this.#tail()}`);
      await delay(pollMs);
    }
    return this;
  }

  /** Sends the signal and waits for the end; after 20 s it sends SIGKILL. Idempotent. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#outcome !== undefined) return;
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stopMs);
    await this.ended;
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #tail(): string {
    return `; the end of ${this.spec.log}:\n${this.output.trimEnd().split('\n').slice(-logTailLines).join('\n')}`;
  }
}

/** What a command gave. */
export interface RunResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly signal?: AbortSignal;
  /** Of the output; latin1 keeps every byte apart. */
  readonly encoding?: 'utf8' | 'latin1';
  /** Receives every line of standard error as it comes. */
  readonly onLine?: (line: string) => void;
}

/**
 * Runs a command to its end and gives its output, whatever its status. An abort ends it and its children with SIGTERM,
 * waits for that, and rejects.
 */
export async function tryRun(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  options.signal?.throwIfAborted();
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
  });
  const { signal } = options;
  // It leads a process group of its own: that is what "detached" does.
  const abort = () => child.pid !== undefined && process.kill(-child.pid, 'SIGTERM');
  signal?.addEventListener('abort', abort, { once: true });
  let stdout = '';
  let stderr = '';
  let line = '';
  child.stdout.setEncoding(options.encoding ?? 'utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    const lines = (line + text).split('\n');
    line = lines.pop() ?? '';
    for (const complete of lines) options.onLine?.(complete);
  });
  try {
    const [status] = (await once(child, 'close')) as [number | null];
    signal?.throwIfAborted();
    return { status, stdout, stderr };
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** As tryRun, but a status other than 0 is an error with the end of its output. Gives standard output. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await tryRun(command, args, options);
  if (status !== 0) {
    const output = `${stdout}${stderr}`.trimEnd().split('\n').slice(-logTailLines).join('\n');
    throw new Error(`${command} ${args.join(' ')} ended with status ${status}:\n${output}`);
  }
  return stdout;
}
