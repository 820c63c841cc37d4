import { plain, type Paint, type Tone } from './colour.ts';
import { printable } from './printable.ts';

const tones: Readonly<Record<string, Tone>> = {
  debug: 'quiet',
  trace: 'quiet',
  warn: 'warning',
  error: 'bad',
  fatal: 'bad',
};

/**
 * A line of the log for people: the local time, the level, the message, and the fields.
 *
 * @param line a line of the log, a JSON object; anything else comes back as it is
 */
export function logText(line: string, paint: Paint = plain): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const { level, time, msg, stack, ...fields } = entry;
  const name = String(level);
  const tone = tones[name];
  const head = name.toUpperCase().padEnd(5);
  const message = printable(String(msg));
  return [
    paint('quiet', clock(String(time))),
    tone === undefined ? head : paint(tone, head),
    tone === undefined || tone === 'quiet' ? message : paint(tone, message),
    ...Object.entries(fields).map(([key, value]) => `${paint('quiet', `${key}=`)}${valueText(value)}`),
  ]
    .join(' ')
    .concat(typeof stack === 'string' ? `\n${stack.split('\n').map(printable).join('\n')}` : '', '\n');
}

/** Hours, minutes and seconds of an ISO time, in the time zone of this machine. */
function clock(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? '--:--:--' : date.toTimeString().slice(0, 8);
}

function valueText(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const safe = printable(text);
  return typeof value === 'string' && /[\s"=]|^$/.test(safe) ? JSON.stringify(safe) : safe;
}
