import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { systemTool } from './tools.ts';

/** Chromium without a screen, spoken to by its protocol (https://chromedevtools.github.io/devtools-protocol). */
export class Browser implements AsyncDisposable {
  readonly #program: ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #session = '';
  #id = 0;
  /** The URLs that pages have asked for. */
  readonly requests: string[] = [];
  /** What pages complained about. */
  readonly complaints: string[] = [];

  static async open(): Promise<Browser> {
    const profile = mkdtempSync(join(tmpdir(), 'lazypull-chromium-'));
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--remote-debugging-port=0'];
    const program = spawn(systemTool('chromium'), [...flags, `--user-data-dir=${profile}`, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let address: string | undefined;
    for await (const line of createInterface(program.stderr)) {
      address = /DevTools listening on (ws:\S+)/.exec(line)?.[1];
      if (address !== undefined) break;
    }
    if (address === undefined) throw new Error('Chromium has ended');
    program.stderr.resume();
    const socket = new WebSocket(address);
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve);
      socket.addEventListener('error', () => reject(new Error('Cannot reach Chromium')));
    });
    const browser = new Browser(program, profile, socket);
    await browser.#attach();
    return browser;
  }

  private constructor(program: ChildProcess, profile: string, socket: WebSocket) {
    this.#program = program;
    this.#profile = profile;
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => this.#take(JSON.parse(String(data)) as Answer));
  }

  /** Shows a URL in a window of that size, for people who prefer these colours. */
  async show(url: string, width: number, colours: 'light' | 'dark'): Promise<void> {
    const features = [{ name: 'prefers-color-scheme', value: colours }];
    await this.#call('Emulation.setEmulatedMedia', { features });
    await this.#call('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: false });
    await this.#call('Page.navigate', { url });
    while ((await this.evaluate('document.readyState')) !== 'complete') await this.evaluate('0');
  }

  /** The value of an expression of JavaScript in the page. */
  async evaluate(expression: string): Promise<unknown> {
    const { result } = await this.#call('Runtime.evaluate', { expression, returnByValue: true });
    return (result as { value?: unknown }).value;
  }

  /** Roles and names as a screen reader has them. */
  async accessible(): Promise<{ role: string; name: string }[]> {
    const { nodes } = (await this.#call('Accessibility.getFullAXTree', {})) as {
      nodes: { role?: { value: string }; name?: { value: string } }[];
    };
    return nodes.map(({ role, name }) => ({ role: role?.value ?? '', name: name?.value ?? '' }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#program.once('exit', resolve));
    this.#socket.close();
    this.#program.kill('SIGKILL');
    await ended;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10 });
  }

  async #attach(): Promise<void> {
    const { targetId } = await this.#call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.#call('Target.attachToTarget', { targetId, flatten: true });
    this.#session = String(sessionId);
    for (const domain of ['Page', 'Network', 'Log', 'Runtime']) await this.#call(`${domain}.enable`, {});
  }

  #call(method: string, params: object): Promise<Record<string, unknown>> {
    const id = ++this.#id;
    const sessionId = this.#session === '' ? {} : { sessionId: this.#session };
    this.#socket.send(JSON.stringify({ id, method, params, ...sessionId }));
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) => {
        if (error === undefined) resolve(result ?? {});
        else reject(new Error(`${method}: ${error.message}`));
      });
    });
  }

  #take(answer: Answer): void {
    if (answer.id !== undefined) this.#waiting.get(answer.id)?.(answer);
    if (answer.method === 'Network.requestWillBeSent') this.requests.push(answer.params?.request?.url ?? '');
    if (answer.method === 'Log.entryAdded') this.complaints.push(answer.params?.entry?.text ?? '');
    if (answer.method === 'Runtime.exceptionThrown') this.complaints.push('an exception');
  }
}

interface Answer {
  readonly id?: number;
  readonly method?: string;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
  readonly params?: { readonly request?: { readonly url: string }; readonly entry?: { readonly text: string } };
}
