import type { ImageAccess } from '../../src/images/image-access.ts';
import type { Descriptor } from '../../src/images/manifest.ts';
import type { Blob } from '../../src/registry/blob/blob.ts';

/** An image whose registry is what the test says. */
export function fakeImage(
  reference: string,
  blob: (digest: string) => Blob = () => {
    throw new Error('No blob is asked for');
  },
  layers: () => Descriptor[] = () => [],
): ImageAccess {
  const config = { mediaType: '', digest: '', size: 0, annotations: {}, rest: {} };
  return {
    reference,
    manifest: () => Promise.resolve({ config, layers: layers(), json: {} }),
    blob,
    document: () => Promise.reject(new Error('There are no documents')),
    referrers: () => Promise.resolve([]),
  };
}
