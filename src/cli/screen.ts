/** The width of a terminal that does not tell it. */
const standardColumns = 80;

/** Help and sentences are no wider than this: long lines are hard to read. */
const maxTextColumns = 80;

/** Nothing is narrower than this: a terminal that claims so is wrong, or cannot be read. */
const minColumns = 20;

/** What a stream tells about itself. */
export interface Screen {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/**
 * The columns of a terminal, else those of COLUMNS; undefined for a pipe or a file, whose lines may have any length.
 */
export function columnsOf({ isTTY, columns }: Screen, env: NodeJS.ProcessEnv): number | undefined {
  if (isTTY === true) return Math.max(minColumns, columns || standardColumns);
  const said = /^[1-9][0-9]{0,4}$/.test(env.COLUMNS ?? '') ? Number(env.COLUMNS) : undefined;
  return said === undefined ? undefined : Math.max(minColumns, said);
}

/** The columns for prose. */
export function textColumns(screen: Screen, env: NodeJS.ProcessEnv): number {
  return Math.min(columnsOf(screen, env) ?? standardColumns, maxTextColumns);
}

/** Characters that take two columns: those that Unicode's annex 11 calls wide or full-width, as blocks. */
const wide =
  /[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18aff}\u{1b000}-\u{1b2ff}\u{1f200}-\u{1f2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;

/** Characters that take no column: they are drawn onto the one before. */
const narrow = /\p{Mn}|\p{Me}|\p{Cf}|[\u1160-\u11ff]/u;

/** Escape sequences of colours, the only ones that we write into a text. */
// oxlint-disable-next-line no-control-regex
const colours = /\x1b\[[0-9;]*m/g;

/** How many columns a text takes, not counting the colours in it. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text.replace(colours, '')) width += widthOf(character);
  return width;
}

function widthOf(character: string): number {
  if (narrow.test(character)) return 0;
  return wide.test(character) ? 2 : 1;
}

/** A text, filled up with spaces to `width` columns. */
export function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - displayWidth(text)));
}

/**
 * The end of a text without colours, which tells names apart, in `width` columns at most. An ellipsis stands for the
 * rest.
 */
export function endOf(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let kept = '';
  for (const character of Array.from(text).toReversed()) {
    if (displayWidth(character + kept) > width - 1) break;
    kept = character + kept;
  }
  return width < 1 ? '' : `…${kept}`;
}

/**
 * Prose in lines of `width` columns at most, which break at spaces. A longer word has a line of its own. Text between
 * double quotes is one word: a command or a path to copy. Lines after the first are indented by `indent` columns.
 */
export function wrapped(text: string, width: number, indent = 0): string {
  const lines: string[] = [];
  let line = '';
  for (const [quoted] of text.matchAll(/(?:"[^"]*"|\S)+/g)) {
    const word = quoted.replaceAll(/\s+/g, ' ');
    const isFirst = lines.length === 0;
    const room = isFirst ? width : width - indent;
    if (line !== '' && displayWidth(line) + 1 + displayWidth(word) > room) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines.join(`\n${' '.repeat(indent)}`);
}

/** A line, broken at spaces if it is wider than `room`. All its lines begin with the spaces of the first. */
export function fitted(line: string, room: number | undefined): string {
  if (room === undefined || displayWidth(line) <= room) return line;
  const [start = ''] = /^ */.exec(line) ?? [];
  return start + wrapped(line, Math.max(1, room - start.length)).replaceAll('\n', `\n${start}`);
}

/** A text whose lines are cut into pieces of `width` columns, as a terminal does by itself. */
export function chopped(text: string, width: number | undefined): string {
  if (width === undefined) return text;
  let result = '';
  let column = 0;
  for (const character of text) {
    const columns = character === '\n' ? 0 : widthOf(character);
    if (column + columns > width) {
      result += '\n';
      column = 0;
    }
    column = character === '\n' ? 0 : column + columns;
    result += character;
  }
  return result;
}
