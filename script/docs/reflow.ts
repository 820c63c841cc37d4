/** The width of pages. */
const columns = 120;

/** Lines that stay as they are: tables, comments, pictures, headings, and empty ones. */
const fixed = /^\s*(\||<!--|!\[|#|---|$)/;

const item = /^(\s*)([-*]|\d+[.)])(\s+)(.*)$/;

/**
 * A page in Markdown with its paragraphs and list items in lines of 120 columns at most; code and tables stay as they
 * are.
 */
export function reflowed(page: string): string {
  const lines: string[] = [];
  let paragraph: { first: string; rest: string; words: string[] } | undefined;
  let isCode = false;
  const end = (): void => {
    if (paragraph !== undefined) lines.push(...broken(paragraph));
    paragraph = undefined;
  };
  for (const line of page.split('\n')) {
    const isFence = /^\s*```/.test(line);
    if (isFence) isCode = !isCode;
    if (isFence || isCode || fixed.test(line)) {
      end();
      lines.push(isCode ? line : line.trimEnd());
      continue;
    }
    const match = item.exec(line);
    if (match !== null) {
      end();
      const first = match[1]! + match[2]! + match[3]!;
      paragraph = { first, rest: ' '.repeat(first.length), words: wordsOf(match[4]!) };
      continue;
    }
    const indent = /^\s*/.exec(line)![0];
    paragraph ??= { first: indent, rest: indent, words: [] };
    paragraph.words.push(...wordsOf(line));
  }
  end();
  return lines.join('\n');
}

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/** A word that would begin a list, a quotation or a heading takes the one before along into its line. */
function broken({ first, rest, words }: { first: string; rest: string; words: readonly string[] }): string[] {
  const lines: string[] = [];
  let line = first + (words[0] ?? '');
  for (const word of words.slice(1)) {
    if (line.length + 1 + word.length <= columns) {
      line += ` ${word}`;
      continue;
    }
    const space = line.lastIndexOf(' ');
    const isMark = /^([-+*>]|#+|\d+[.)])$/.test(word) && space > rest.length;
    lines.push(isMark ? line.slice(0, space) : line);
    line = isMark ? `${rest}${line.slice(space + 1)} ${word}` : rest + word;
  }
  return [...lines, line];
}
