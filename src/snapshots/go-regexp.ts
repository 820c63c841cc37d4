const posixClasses: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  ascii: '\\x00-\\x7f',
  blank: '\\t ',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '!-~',
  lower: 'a-z',
  print: ' -~',
  punct: '!-\\/:-@\\[-`{-~',
  space: '\\t\\n\\v\\f\\r ',
  upper: 'A-Z',
  word: '0-9A-Za-z_',
  xdigit: '0-9A-Fa-f',
};

/**
 * A regular expression in Go's syntax (https://pkg.go.dev/regexp/syntax) as JavaScript's, for what differs in practice: flags in front, `(?P<name>`, `\A`, `\z`,
 * `\Q…\E` and POSIX classes. Undefined when it does not compile; containerd takes such a pattern as one that matches nothing.
 */
export function regExpOf(pattern: string): RegExp | undefined {
  const flags = /^\(\?([ims]+)\)/.exec(pattern);
  const source = pattern
    .slice(flags?.[0].length ?? 0)
    .replace(/\\Q([^]*?)(?:\\E|$)|\\[^]|\[:(\w+):\]|\(\?P</g, (all: string, literal?: string, name?: string) => {
      if (literal !== undefined) return literal.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
      if (name !== undefined) return posixClasses[name] ?? all;
      if (all === '\\A') return '(?<![^])';
      if (all === '\\z') return '(?![^])';
      return all === '(?P<' ? '(?<' : all;
    });
  for (const mode of ['u', '']) {
    try {
      return new RegExp(source, [...new Set(flags?.[1] ?? '')].join('') + mode);
    } catch {}
  }
  return undefined;
}
