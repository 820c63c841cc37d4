/**
 * What is known of a chunk's bytes in the layer's image. Only `verified` ones are served. `unverified` ones have been written down as here in an
 * earlier life, or could not be read just now: the machine's disk may have lost or changed them, so they are verified again before they are served.
 */
export const residency = { absent: 0, verified: 1, unverified: 2 } as const;

/** The bytes of all chunks, and of those that are on the disk. @param size and `resident` have a number for each chunk */
export function countBytes(
  size: Float64Array,
  resident: Uint8Array,
): { readonly contentBytes: number; readonly presentBytes: number } {
  let contentBytes = 0;
  let presentBytes = 0;
  for (let chunk = 0; chunk < size.length; chunk++) {
    contentBytes += size[chunk]!;
    if (resident[chunk] !== residency.absent) presentBytes += size[chunk]!;
  }
  return { contentBytes, presentBytes };
}
