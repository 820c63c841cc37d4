/**
 * What is known of a row's bytes in the disk file. Only `verified` ones are served. `unverified` ones have been written down as here in an
 * earlier life, or could not be read just now: the disk may have lost or changed them, so they are verified again before they are served.
 */
export const residency = { absent: 0, verified: 1, unverified: 2 } as const;
