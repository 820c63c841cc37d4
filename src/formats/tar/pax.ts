import { LazypullError } from '../../errors.ts';
import type { ByteString } from '../layer-index.ts';

/**
 * The records of one PAX header in order of appearance; a later record replaces an earlier one of the same key. Values
 * are bytes.
 */
export type PaxRecords = Map<ByteString, ByteString>;

/**
 * Decodes the data of a PAX extended header: records of `"<length> <key>=<value>\n"`, in which the length counts the
 * whole record (POSIX pax(1), "pax Extended Header"). A value may contain any byte, even newlines and NULs.
 *
 * @param position offset of the header in the archive, for the message
 * @throws DataLoss if a record is invalid
 */
export function decodePax(data: Buffer, position: number): PaxRecords {
  const records: PaxRecords = new Map();
  const sparse: ByteString[] = [];
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
    if (!isRecord) throw malformed(position);
    const key = text.slice(space + 1, equals);
    const value = text.slice(equals + 1, end - 1);
    const place = sparsePairs.indexOf(key);
    if (place < 0) records.set(key, value);
    else if (place === sparse.length % 2 && !value.includes(',')) sparse.push(value);
    else throw malformed(position);
    start = end;
  }
  if (sparse.length > 0) records.set(sparseMapKey, sparse.join(','));
  return records;
}

/** The pieces of a sparse file: offset, length, offset, …. */
export const sparseMapKey = 'GNU.sparse.map';

/** Two records that version 0.0 of sparse files repeats for each piece. They become a map as in version 0.1. */
const sparsePairs = ['GNU.sparse.offset', 'GNU.sparse.numbytes'];

/** The data of a PAX extended header with these records. */
export function encodePax(records: PaxRecords): Buffer {
  const lines = [...records].map(([key, value]) => {
    const tail = ` ${key}=${value}\n`;
    let length = tail.length;
    while (String(length).length + tail.length !== length) length = String(length).length + tail.length;
    return `${length}${tail}`;
  });
  return Buffer.from(lines.join(''), 'latin1');
}

function malformed(position: number): LazypullError {
  return new LazypullError(
    'DataLoss',
    `Cannot read the tar archive at byte ${position}: a PAX header has a malformed record`,
  );
}

/**
 * A PAX time, `"-1.5"`, as whole seconds rounded down and the remaining nanoseconds; undefined if it is not one. Digits
 * after the ninth are dropped.
 */
export function decodePaxTime(text: ByteString): { seconds: number; nanoseconds: number } | undefined {
  const match = /^([-+]?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(text);
  if (match === null) return undefined;
  const whole = Number(match[2]);
  const fraction = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  if (match[1] !== '-') return { seconds: whole, nanoseconds: fraction };
  if (fraction === 0) return { seconds: whole === 0 ? 0 : -whole, nanoseconds: 0 };
  return { seconds: -whole - 1, nanoseconds: 1e9 - fraction };
}

/** A PAX number, decimal digits with an optional sign; undefined if it is not one, or is 2^53 or more from zero. */
export function decodePaxNumber(text: ByteString): number | undefined {
  const value = /^[-+]?[0-9]{1,16}$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(value) ? value : undefined;
}

/** A PAX number of 64 bits; undefined if it is not one. */
export function decodePaxInt64(text: ByteString): bigint | undefined {
  if (!/^[-+]?[0-9]{1,19}$/.test(text)) return undefined;
  const value = BigInt(text.replace('+', ''));
  return BigInt.asIntN(64, value) === value ? value : undefined;
}
