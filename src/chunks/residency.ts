/**
 * What is known about a chunk's bytes in the layer's image. Only `verified` chunks are served. `unverified` chunks were
 * recorded as present in an earlier life, or could not be read just now. The machine's disk may have lost or changed
 * them, so they are verified again before they are served.
 */
export const residency = { absent: 0, verified: 1, unverified: 2 } as const;

/**
 * The bytes of all chunks, and of the resident ones. @param size `size` and `resident` have an element for each chunk
 */
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
