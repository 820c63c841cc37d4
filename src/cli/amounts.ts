import { LazypullError } from '../errors.ts';
import { bytesOf, parseAmount } from '../util/amount.ts';
import { timeUnits } from './value-text.ts';

/** A time that a user wrote, such as `90m`, in milliseconds. @throws InvalidArgument */
export function durationOf(text: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const length = timeUnits.find(([name]) => name === unit)?.[1];
  if (length !== undefined) return Number(digits) * length * 1000;
  throw new LazypullError('InvalidArgument', `Cannot use the time "${text}": it must be like 90m, 12h or 7d`);
}

/** A size that a user wrote, such as `20GB`, in bytes. @throws InvalidArgument */
export function sizeOf(text: string): number {
  const amount = parseAmount(text);
  if (amount !== undefined && 'bytes' in amount) return bytesOf(amount, 0);
  throw new LazypullError('InvalidArgument', `Cannot use the size "${text}": it must be bytes, or like 20GB or 20GiB`);
}
