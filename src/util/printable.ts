/**
 * Characters that a terminal, or the reader of a line, would not take for text: control characters of ASCII and of
 * Latin-1, marks that turn or hide text, ends of lines.
 */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** A foreign text in one line, without anything that a terminal would obey: `?` stands for that. */
export function printable(text: string): string {
  return text.replace(unprintable, '?');
}

/** The same for a text of ours that may have several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** The same characters but ends of lines and tabs, and the colours of `painter`. */
const commanding =
  // oxlint-disable-next-line no-control-regex
  /(?<colour>\x1b\[(?:1|2|22|31|32|33|39)m)|(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * A whole text on its way to a terminal, with the colours that we gave it. What else a terminal would obey is `?`, even
 * if the code that made the text has forgotten `printable`.
 */
export function terminalText(text: string): string {
  return text.replace(commanding, (_, colour: string | undefined) => colour ?? '?');
}

/**
 * A value as a line of JSON, with everything escaped that `printable` replaces. JSON itself escapes only the control
 * characters of ASCII.
 */
export function jsonLine(value: unknown): string {
  return printableJson(`${JSON.stringify(value)}\n`);
}

/** Foreign lines of JSON with the same characters escaped. Their meaning stays the same. */
export function printableJson(lines: string): string {
  return lines.replace(unprintable, (character) => (character === '\n' ? character : escaped(character)));
}

function escaped(character: string): string {
  let text = '';
  for (let i = 0; i < character.length; i++) text += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
  return text;
}
