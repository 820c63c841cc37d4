/**
 * What is known of a chunk's bytes in the layer's image. Only `verified` ones are served. `unverified` ones have been written down as here in an
 * earlier life, or could not be read just now: the machine's disk may have lost or changed them, so they are verified again before they are served.
 */
export const residency = { absent: 0, verified: 1, unverified: 2 } as const;
