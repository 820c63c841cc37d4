import { readFile, writeFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { LazypullError } from '../errors.ts';
import { parseTrace, type Trace, TraceStore } from '../layers/prefetch/trace.ts';
import { jsonLine } from '../util/printable.ts';
import type { Environment } from './environment.ts';
import { sizeText } from './value-text.ts';
import { say, write } from './output.ts';
import { CliCommand } from './command.ts';
import { chooseDaemon, whichDaemon } from './which-daemon.ts';

/** A file with more traces is far larger than any real one, and is refused before it is read. */
const maxTraces = 10_000;

interface Options {
  address?: string;
  root?: string;
  digest?: string[];
}

/** `lazypull trace export|import`: moves records of what containers read first from one machine to another. */
export function traceCommand(environment: Environment): CliCommand {
  const { name } = environment;
  const trace = new CliCommand('trace').description(
    'Move access traces between machines: what containers read first of each layer',
  );
  chooseDaemon(trace.command('export').description('Write traces, a line of JSON for each layer'))
    .argument('[file]', 'where to write them; "-" for standard output', '-')
    .option('--digest <digest>', 'only the trace of this layer (repeatable; default: all)', append)
    .explain('', ['lazypull trace export traces.jsonl', 'lazypull trace export | ssh builder lazypull trace import'])
    .action(async (file: string, options: Options) => {
      const { root } = await whichDaemon(options, environment, 'reads');
      await exportTraces(file, root, options.digest, name);
    });
  chooseDaemon(
    trace
      .command('import')
      .description(
        'Import traces, in place of those of the same layers; they are used when a layer is new on this machine',
      ),
  )
    .argument('[file]', 'what "lazypull trace export" wrote; "-" for standard input', '-')
    .explain('It prints how many there were to standard output, and where they are now to standard error.', [
      'lazypull trace import traces.jsonl',
    ])
    .action(async (file: string, options: Options) => {
      const traces = await tracesOf(file);
      const { root } = await whichDaemon(options, environment, 'changes');
      await importTraces(traces, root, name);
    });
  return trace;
}

async function exportTraces(file: string, root: string, digests: string[] | undefined, name: string): Promise<void> {
  const store = new TraceStore(root);
  const lines: string[] = [];
  for (const digest of digests ?? (await store.digests())) {
    const trace = await store.load(digest);
    if (trace === undefined)
      throw new LazypullError('NotFound', `There is no trace of the layer ${digest} in "${root}"`);
    lines.push(jsonLine(trace));
  }
  if (lines.length === 0)
    say(name, `There are no traces in "${root}": no layer was read in part there yet, or another --root is meant`);
  const content = lines.join('');
  if (file === '-') await write(process.stdout, content);
  else await writeTraceFile(file, content);
  if (lines.length === 0) return;
  const where = file === '-' ? '' : ` to "${file}"`;
  say(name, `Exported ${countText(lines.length)} of "${root}"${where}, ${sizeText(Buffer.byteLength(content))}`);
}

/** The traces in a file, or on standard input. */
async function tracesOf(file: string): Promise<Trace[]> {
  const content = file === '-' ? await text(process.stdin) : await readTraceFile(file);
  const lines = content.split('\n').filter((line) => line.trim() !== '');
  const from = file === '-' ? 'standard input' : `"${file}"`;
  if (lines.length > maxTraces) {
    throw new LazypullError('InvalidArgument', `Cannot import ${from}: it has more than ${maxTraces} traces`);
  }
  return lines.map((line, i) => parseLine(line, `line ${i + 1} of ${from}`));
}

async function importTraces(traces: readonly Trace[], root: string, name: string): Promise<void> {
  const store = new TraceStore(root);
  const before = new Set(await store.digests());
  for (const trace of traces) await store.save(trace);
  const replaced = new Set(traces.map(({ digest }) => digest).filter((digest) => before.has(digest))).size;
  await write(process.stdout, `${traces.length}\n`);
  const more = replaced === 0 ? '' : `, ${replaced} in place of another one`;
  say(name, `Imported ${countText(traces.length)} into "${root}"${more}`);
}

function countText(traces: number): string {
  return `${traces} ${traces === 1 ? 'trace' : 'traces'}`;
}

function parseLine(line: string, where: string): Trace {
  try {
    return parseTrace(line);
  } catch (error) {
    throw new LazypullError(
      'FailedPrecondition',
      `Cannot import ${where}, which "lazypull trace export" did not write`,
      { cause: error },
    );
  }
}

async function writeTraceFile(file: string, content: string): Promise<void> {
  try {
    await writeFile(file, content);
  } catch (error) {
    throw new LazypullError('Unavailable', `Cannot write "${file}"`, { cause: error });
  }
}

async function readTraceFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new LazypullError('InvalidArgument', `Cannot read "${file}"`, { cause: error });
  }
}

function append(value: string, values: string[] = []): string[] {
  return [...values, value];
}
