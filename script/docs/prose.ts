import { wrapped } from '../../src/cli/layout.ts';

/** The width of pages. */
const columns = 120;

/** Paragraphs in lines that a page may have. */
export function prose(text: string): string {
  return text
    .split('\n\n')
    .map((paragraph) => wrapped(paragraph, columns))
    .join('\n\n');
}
