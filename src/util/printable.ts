/**
 * What a terminal, or the reader of a line, would take for something else than text: control characters of ASCII and of
 * Latin-1, marks that turn or hide text, ends of lines.
 */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** A text of others in one line without anything that commands a terminal: `?` stands for that. */
export function printable(text: string): string {
  return text.replace(unprintable, '?');
}

/** The same of a text of ours that may have several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/**
 * A value as a line of JSON, in which all that `printable` takes away is escaped: JSON itself escapes no more than the
 * control characters of ASCII.
 */
export function jsonLine(value: unknown): string {
  return printableJson(`${JSON.stringify(value)}\n`);
}

/** Lines of JSON from elsewhere, with the same escaped: they say what they said. */
export function printableJson(lines: string): string {
  return lines.replace(unprintable, (character) => (character === '\n' ? character : escaped(character)));
}

function escaped(character: string): string {
  let text = '';
  for (let i = 0; i < character.length; i++) text += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
  return text;
}
