import { createHash } from 'node:crypto';
import { LazypullError } from '../errors.ts';
import type { RegistryClient } from '../registry/client.ts';
import type { Reference } from '../registry/reference.ts';
import type { Descriptor } from './manifest.ts';

/** No image's configuration is larger. */
const maxConfigBytes = 8 << 20;

/**
 * Fetches the configuration of an image.
 *
 * @throws ResourceExhausted if it is too large; DataLoss if it does not have its digest
 */
export async function readConfig(
  client: RegistryClient,
  reference: Reference,
  { digest, size }: Descriptor,
  signal?: AbortSignal,
): Promise<Buffer> {
  if (size > maxConfigBytes) {
    throw new LazypullError('ResourceExhausted', `The image's configuration has ${size} bytes: too many`);
  }
  const pieces: Buffer[] = [];
  for await (const piece of client.blob(reference, digest).range(0, size, signal)) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  const [algorithm = ''] = digest.split(':');
  if (`${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` === digest) return bytes;
  throw new LazypullError('DataLoss', `The image's configuration does not have the digest "${digest}"`);
}
