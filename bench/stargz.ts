import { constants, existsSync } from 'node:fs';
import { access, mkdir, open, realpath, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { accepts } from '../test/support/ports.ts';
import { Program, tryRun } from '../test/support/program.ts';
import type { Snapshotter } from './snapshotter.ts';

const name = 'containerd-stargz-grpc';
const elfMagic = '\x7fELF';

/**
 * The Go daemon: BENCH_STARGZ, else the first containerd-stargz-grpc in PATH that is a compiled program; lazypull's own
 * program of that name is a script. Throws if BENCH_STARGZ cannot be run.
 */
export async function findStargz(): Promise<string | undefined> {
  const chosen = process.env['BENCH_STARGZ'];
  if (chosen !== undefined && chosen !== '') {
    await access(chosen, constants.X_OK);
    return realpath(chosen);
  }
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(directory, name);
    if (directory !== '' && existsSync(path) && (await isCompiled(path))) return realpath(path);
  }
  return undefined;
}

/** Starts the Go daemon with its state in `directory`, with its defaults but for the background fetch. */
export async function startStargz(program: string, directory: string, backgroundFill: boolean): Promise<Snapshotter> {
  await mkdir(directory, { recursive: true });
  const socket = join(directory, 'st.sock');
  const args = [`-address=${socket}`, `-root=${join(directory, 'root')}`];
  const help = await tryRun(program, ['-h']);
  const knows = (flag: string) => new RegExp(`^\\s+-${flag}\\b`, 'm').test(help.stdout + help.stderr);
  if (knows('config')) {
    const config = join(directory, 'config.toml');
    await writeFile(config, `no_background_fetch = ${!backgroundFill}\n`);
    args.push(`-config=${config}`);
  } else if (knows('no-background-fetch')) {
    args.push(`-no-background-fetch=${!backgroundFill}`);
  }
  const running = new Program({ name, command: program, args, log: join(directory, 'stargz.log') });
  await running.ready(() => accepts({ path: socket }));
  return { socket, program: running, [Symbol.asyncDispose]: () => running.stop() };
}

async function isCompiled(path: string): Promise<boolean> {
  await using file = await open(path).catch(() => undefined);
  if (file === undefined) return false;
  const { buffer, bytesRead } = await file.read(Buffer.alloc(elfMagic.length), 0, elfMagic.length, 0);
  return buffer.toString('latin1', 0, bytesRead) === elfMagic;
}
