import { LazypullError } from '../errors.ts';
import type { ByteString } from '../formats/layer-index.ts';

/** The records of one PAX header in order of appearance; a later record replaces an earlier one of the same key. Values are bytes. */
export type PaxRecords = Map<ByteString, ByteString>;

/**
 * Decodes the data of a PAX extended header: records of `"<length> <key>=<value>\n"`, where length counts the whole record
 * (POSIX pax(1), "pax Extended Header"). A value may hold any byte, newlines and NULs too.
 * @throws DataLoss where a record does not hold. `position` is the header's place in the archive, for the message.
 */
export function decodePax(data: Buffer, position: number): PaxRecords {
  const records: PaxRecords = new Map();
  const text = data.toString('latin1');
  for (let start = 0; start < text.length; ) {
    const space = text.indexOf(' ', start);
    const digits = text.slice(start, space);
    const end = start + parseInt(digits, 10);
    const equals = text.indexOf('=', space);
    const isRecord =
      space !== -1 &&
      /^[0-9]{1,7}$/.test(digits) &&
      end <= text.length &&
      equals > space + 1 &&
      equals < end - 1 &&
      text[end - 1] === '\n';
    if (!isRecord) {
      throw new LazypullError(
        'DataLoss',
        `Cannot read the tar archive at byte ${position}: a PAX header has a malformed record`,
      );
    }
    records.set(text.slice(space + 1, equals), text.slice(equals + 1, end - 1));
    start = end;
  }
  return records;
}

/** A PAX time, `"-1.5"`, as whole seconds rounded down and nanoseconds from there on; undefined where it is not one. Digits past the ninth are dropped. */
export function decodePaxTime(text: ByteString): { seconds: number; nanoseconds: number } | undefined {
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(text);
  if (match === null) return undefined;
  const whole = Number(match[2]);
  const fraction = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  if (match[1] === '') return { seconds: whole, nanoseconds: fraction };
  if (fraction === 0) return { seconds: whole === 0 ? 0 : -whole, nanoseconds: 0 };
  return { seconds: -whole - 1, nanoseconds: 1e9 - fraction };
}

/** A PAX number, decimal digits; undefined where it is not one or is above 2^53 - 1. */
export function decodePaxNumber(text: ByteString): number | undefined {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(value) ? value : undefined;
}
