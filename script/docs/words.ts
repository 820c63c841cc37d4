/** Words that leave the subject open, or say "if" and "even if" in another way. A program is no "who". */
const avoided = /\b(who|whom|whoever|somebody|anybody|nobody|also (when|where|if)|as ever)\b/i;

/** Of people, as a word that is spoken of, and in headings that ask for them. */
const allowed = /\b(people|person|users?|maintainers) who\b|"who"|^#+ Who |^\| Who \|/g;

/** The lines of a page with words that pages do not use: number of the line, and the word. */
export function avoidedWords(page: string): { line: number; word: string }[] {
  return page.split('\n').flatMap((text, i) => {
    const word = avoided.exec(text.replace(allowed, ''))?.[0];
    return word === undefined ? [] : [{ line: i + 1, word }];
  });
}
