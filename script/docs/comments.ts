import { avoidedWords } from './words.ts';

const maxColumns = 120;

/** Something wrong with a line of a source, which is counted from 1. */
export interface CommentProblem {
  readonly line: number;
  readonly text: string;
}

/** What is wrong with the comments of a TypeScript source: lines of more than 120 columns, and words to avoid. */
export function commentProblems(source: string): CommentProblem[] {
  const lines = source.split('\n');
  const comments = commentsOf(lines);
  return [
    ...comments.flatMap((comment, i) => {
      const columns = lines[i]!.length;
      return comment === '' || columns <= maxColumns ? [] : [{ line: i + 1, text: `${columns} columns` }];
    }),
    ...avoidedWords(comments.join('\n')).map(({ line, word }) => ({ line, text: `"${word}"` })),
  ];
}

/** The comment on each line, '' if there is none: a line of its own, a part of a block, or behind code. */
function commentsOf(lines: readonly string[]): string[] {
  let isInBlock = false;
  return lines.map((line) => {
    const text = line.trim();
    const begins = text.startsWith('/*');
    if (isInBlock || begins) {
      isInBlock = !text.includes('*/');
      return text;
    }
    return text.startsWith('//') ? text : (/[;,{})] (\/\/ .*)$/.exec(text)?.[1] ?? '');
  });
}
