import type { KeyObject } from 'node:crypto';
import { Option } from 'commander';
import { LazypullError } from '../../errors.ts';
import { maxKeyBytes, parsePrivateKey } from '../../indexes/signature.ts';
import { readGivenFile } from '../../kernel/given-file.ts';

/** The option `--sign`. */
export function signOption(): Option {
  return new Option('--sign <file>', 'sign with this Ed25519 private key in PEM');
}

/** The key in the file of `--sign`; undefined if there is none. */
export async function readKey(file: string | undefined): Promise<KeyObject | undefined> {
  if (file === undefined) return undefined;
  let pem: Buffer;
  try {
    pem = await readGivenFile(file, maxKeyBytes);
  } catch (error) {
    throw new LazypullError('InvalidArgument', `Cannot read the key "${file}"`, { cause: error });
  }
  return parsePrivateKey(pem, file);
}
