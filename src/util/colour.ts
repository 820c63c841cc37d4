import { styleText } from 'node:util';

/** The meaning of a colour. */
export type Tone = 'good' | 'bad' | 'warning' | 'quiet' | 'strong';

const formats = { good: 'green', bad: 'red', warning: 'yellow', quiet: 'dim', strong: 'bold' } as const;

/** Colours a text. */
export type Paint = (tone: Tone, text: string) => string;

/** Leaves a text as it is. */
export const plain: Paint = (_, text) => text;

/**
 * Colours for a stream: if it is a terminal that has them and neither NO_COLOR nor TERM=dumb is set, or if FORCE_COLOR
 * is set (https://no-color.org, https://force-color.org).
 */
export function painter(
  stream: { readonly isTTY?: boolean | undefined },
  { NO_COLOR, FORCE_COLOR, TERM }: NodeJS.ProcessEnv,
): Paint {
  const isForced = FORCE_COLOR !== undefined && FORCE_COLOR !== '' && FORCE_COLOR !== '0' && FORCE_COLOR !== 'false';
  const isOff = (NO_COLOR !== undefined && NO_COLOR !== '') || FORCE_COLOR === '0' || FORCE_COLOR === 'false';
  if (isOff || !(isForced || (stream.isTTY === true && TERM !== 'dumb'))) return plain;
  return (tone, text) => (text === '' ? '' : styleText(formats[tone], text, { validateStream: false }));
}
