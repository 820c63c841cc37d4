/** Tells the user what goes on: one line a step, and for a step that takes long a line every ten seconds. */
export class Progress {
  /** Prints a line. */
  say(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  /** Runs a step under a title. */
  async step<T>(title: string, work: (detail: (text: string) => void) => Promise<T>): Promise<T> {
    const started = performance.now();
    let detail = '';
    this.say(`==> ${title}`);
    const timer = setInterval(() => {
      this.say(`    ${seconds(performance.now() - started)} s${detail === '' ? '' : `: ${detail}`}`);
    }, intervalMs);
    try {
      return await work((text) => {
        detail = text;
      });
    } finally {
      clearInterval(timer);
    }
  }
}

const intervalMs = 10_000;

function seconds(ms: number): string {
  return (ms / 1000).toFixed(0);
}
