/** One challenge of a WWW-Authenticate header (RFC 9110, 11.6.1). Scheme and parameter names are in lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** Bounds on a server's header; real challenges have a few hundred characters and up to four parameters. */
const maxHeaderLength = 16_384;
const maxParameters = 32;

const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const token68 = /[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)/y;
const quoted = /"(?:[^"\\]|\\.)*"/sy;
const blanks = /[ \t]*/y;
const separators = /[ \t,]*/y;

/**
 * Reads the challenges of a WWW-Authenticate header, in order. An unreadable part ends the list: the challenges before
 * it still count. A token68 in place of parameters is skipped. Never throws.
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  const scan = scanner(header.slice(0, maxHeaderLength));
  let parameters: Map<string, string> | undefined;
  for (let count = 0; count < maxParameters; count++) {
    scan(separators);
    const name = scan(token);
    if (name === undefined) break;
    scan(blanks);
    if (parameters !== undefined && scan(/=/y) !== undefined) {
      scan(blanks);
      const value = scan(quoted)?.slice(1, -1).replace(/\\(.)/gs, '$1') ?? scan(token);
      if (value === undefined) break;
      const key = name.toLowerCase();
      if (!parameters.has(key)) parameters.set(key, value);
      continue;
    }
    parameters = new Map();
    challenges.push({ scheme: name.toLowerCase(), parameters });
    if (!scan.startsParameter()) scan(token68);
  }
  return challenges;
}

interface Scanner {
  (pattern: RegExp): string | undefined;
  /** Whether `name = value` comes next, rather than a token68 that only ends in "=". */
  startsParameter(): boolean;
}

function scanner(text: string): Scanner {
  let position = 0;
  const scan = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = position;
    const match = pattern.exec(text);
    if (match === null) return undefined;
    position = pattern.lastIndex;
    return match[0];
  };
  const parameter = /[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*=[ \t]*["!#$%&'*+.^_`|~0-9A-Za-z-]/y;
  return Object.assign(scan, {
    startsParameter: (): boolean => {
      parameter.lastIndex = position;
      return parameter.test(text);
    },
  });
}
