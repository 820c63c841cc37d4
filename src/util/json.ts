/**
 * What is wrong with a text that should be JSON, and where; undefined if nothing is. Unlike the messages of JSON.parse,
 * it repeats nothing of the text, which may hold secrets.
 */
export function jsonProblem(text: string): string | undefined {
  if (parses(text)) return undefined;
  if (!isBad(text)) return `it ends too early, in line ${placeOf(text, text.length).line}`;
  // The wrong character is the last one of the shortest beginning that cannot be completed.
  let [good, bad] = [0, text.length];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (isBad(text.slice(0, middle))) bad = middle;
    else good = middle;
  }
  const { line, column } = placeOf(text, good);
  return `line ${line}, column ${column} is wrong`;
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Whether no continuation makes it JSON. */
function isBad(text: string): boolean {
  try {
    JSON.parse(text);
    return false;
  } catch (error) {
    const { message } = error as Error;
    const position = /at position (\d+)/.exec(message)?.[1];
    return !/^Unexpected end|^Unterminated/.test(message) && (position === undefined || Number(position) < text.length);
  }
}

/** The line and column, from 1, of the character at an index. */
function placeOf(text: string, index: number): { line: number; column: number } {
  const before = text.slice(0, index).split('\n');
  return { line: before.length, column: before.at(-1)!.length + 1 };
}
