import { isatty } from 'node:tty';
import { type DestinationStream, pino, stdTimeFunctions } from 'pino';
import { LogOutput } from './kernel/log-output.ts';
import type { LogFormat, LogLevel, ProcessLog } from './log.ts';
import { painter } from './util/colour.ts';
import { logText } from './util/log-text.ts';
import { printableJson } from './util/printable.ts';

/**
 * A logger that writes to standard error or to `stream`: one JSON object a line, with containerd's keys (`level`,
 * `msg`, `time`), or lines for people. It never throws, and no caller waits for it: see `LogOutput`.
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
