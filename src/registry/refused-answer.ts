import { collect } from './http/body.ts';
import { hintOf, messageOf } from '../errors.ts';
import { RegistryError, statusError } from './errors.ts';
import { defaultRetryPolicy, parseRetryAfter, Tries } from './http/retry.ts';
import { silentLog } from '../log.ts';
import type { Answer } from './http/transport.ts';

const maxErrorBodyBytes = 16 * 1024;
const maxDetailLength = 300;
const maxErrorBodyMs = 5_000;

/**
 * Additional information for a refusal: what to do about it, or an earlier problem because of which the request had no
 * credentials for `host`.
 */
export type Advice = { readonly hint: string | undefined } | { readonly problem: unknown; readonly host: string };

/**
 * The error for an answer with an unexpected status. It reads the registry's own words from the body (distribution
 * spec, "Error Codes"), and ends the request. A problem that may be the reason is named first.
 */
export async function refusal(answer: Answer, advice: Advice = { hint: undefined }): Promise<RegistryError> {
  const detail = answer.method === 'HEAD' ? undefined : await detailOf(answer);
  answer.body.destroy();
  const retryAfterMs = parseRetryAfter(headerOf(answer, 'retry-after'));
  if ('hint' in advice) return statusError(answer, answer.status, { detail, hint: advice.hint, retryAfterMs });
  const { code, message, status, retryable } = statusError(answer, answer.status, { detail });
  const what = `${messageOf(advice.problem)}; so "${advice.host}" was asked without credentials: ${message}`;
  return new RegistryError(code, what, { status, retryable, retryAfterMs, hint: hintOf(advice.problem) });
}

/** The value of a header; several are joined as HTTP joins lists. */
export function headerOf(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

async function detailOf(answer: Answer): Promise<string | undefined> {
  const tries = new Tries({ ...defaultRetryPolicy, totalMs: maxErrorBodyMs }, silentLog, undefined);
  const giveUp = setTimeout(() => answer.body.destroy(), maxErrorBodyMs);
  try {
    const body = await collect(answer, maxErrorBodyBytes, tries, { requests: 0, bytes: 0 });
    return printable(wordsIn(body.toString('utf8')));
  } catch {
    return undefined;
  } finally {
    clearTimeout(giveUp);
  }
}

function wordsIn(text: string): string {
  try {
    const errors: unknown = JSON.parse(text)?.errors ?? JSON.parse(text);
    const entries: unknown[] = Array.isArray(errors) ? errors : [errors];
    return entries
      .map((entry) =>
        [field(entry, 'code'), field(entry, 'message'), field(entry, 'details')].filter(Boolean).join(': '),
      )
      .join(', ');
  } catch {
    // Object stores answer in XML: <Error><Code>ExpiredToken</Code><Message>…</Message></Error>
    const code = /<Code>([^<]{1,100})<\/Code>/.exec(text)?.[1];
    const message = /<Message>([^<]{1,300})<\/Message>/.exec(text)?.[1];
    return [code, message].filter(Boolean).join(': ');
  }
}

function field(entry: unknown, name: string): string {
  const value = typeof entry === 'object' && entry !== null ? Reflect.get(entry, name) : undefined;
  return typeof value === 'string' ? value : '';
}

function printable(text: string): string | undefined {
  const clean = text.replace(/[^\x20-\x7e]+/g, ' ').trim();
  return clean === '' ? undefined : clean.slice(0, maxDetailLength);
}
