import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Option } from 'commander';
import { LazypullError } from '../../errors.ts';
import { parsePrivateKey } from '../../indexes/signature.ts';

/** The option `--sign`. */
export function signOption(): Option {
  return new Option('--sign <file>', 'sign with this Ed25519 private key in PEM');
}

/** The key in the file of `--sign`; undefined if there is none. */
export async function readKey(file: string | undefined): Promise<KeyObject | undefined> {
  if (file === undefined) return undefined;
  let pem: Buffer;
  try {
    pem = await readFile(file);
  } catch (error) {
    throw new LazypullError('InvalidArgument', `Cannot read the key "${file}"`, { cause: error });
  }
  return parsePrivateKey(pem, file);
}
