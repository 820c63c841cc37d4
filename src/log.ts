import { isatty } from 'node:tty';
import { type DestinationStream, pino, stdTimeFunctions } from 'pino';
import { LogOutput } from './kernel/log-output.ts';
import { logText } from './log-text.ts';
import { painter } from './util/colour.ts';
import { printableJson } from './util/printable.ts';

/** Levels as containerd-stargz-grpc names them. `panic` is taken as `fatal`. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'panic'] as const;
export type LogLevel = (typeof logLevels)[number];

/** What the rooms log to. Fields first, then the message, as pino has it. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** The log of a process, which also has the last word of one that cannot go on. */
export interface ProcessLog extends Log {
  fatal(fields: object, message: string): void;
}

/** `auto` is text where standard error is a terminal, and JSON elsewhere. */
export const logFormats = ['auto', 'json', 'text'] as const;
export type LogFormat = (typeof logFormats)[number];

/**
 * A logger that writes to standard error or to `stream`: one JSON object a line, with containerd's keys (`level`, `msg`, `time`), or lines for people. It never
 * throws, and nobody waits for it: see `LogOutput`.
 */
export function createLog(level: LogLevel, format: LogFormat = 'auto', stream?: DestinationStream): ProcessLog {
  const isText = format === 'text' || (format === 'auto' && stream === undefined && isatty(2));
  const inShape = isText ? forPeople() : printableJson;
  const out = stream ?? new LogOutput(2, (count) => inShape(lostLines(count)));
  return pino(
    {
      level: level === 'panic' ? 'fatal' : level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => out.write(inShape(line)) },
  );
}

function forPeople(): (line: string) => string {
  const paint = painter({ isTTY: isatty(2) }, process.env);
  return (line) => logText(line, paint);
}

/** The line that stands for `count` lines which could not be written. */
function lostLines(count: number): string {
  const line = { level: 'warn', time: new Date().toISOString(), lines: count, msg: 'lines of the log were lost' };
  return `${JSON.stringify(line)}\n`;
}

/** A log that drops everything, for tests and for commands that print their own errors. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
