import type { FullStatus } from '../status/outcomes.ts';
import { printable } from '../util/printable.ts';
import { shorten } from './value-text.ts';

/** Lists for people have no more lines. */
const maxOriginLines = 40;

/**
 * A line for each layer that a daemon made lazy by a layer index or pulled, and for each that it left to the client,
 * the latest last. A layer with a table of contents of its own, or one from the cache, needs no line. If there are
 * more than `room`, the last line counts the others.
 */
export function originLines({ layers, left }: Pick<FullStatus, 'layers' | 'left'>, room = maxOriginLines): string[] {
  const lines = [
    ...layers.flatMap(({ digest, how, howText }) =>
      how === 'index' || how === 'pull' ? [`${shorten(digest)}  ${printable(howText ?? how)}`] : [],
    ),
    ...left.map(({ digest, message }) => `${shorten(digest)}  left to the client: ${printable(message)}`),
  ];
  if (lines.length <= room) return lines;
  const shown = Math.max(0, room - 1);
  const rest = `and ${lines.length - shown} more: "lazypull why IMAGE" says it of each layer`;
  return room < 1 ? [] : [...lines.slice(lines.length - shown), rest];
}
