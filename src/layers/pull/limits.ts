/** Bounds on what a blob may ask for that nobody has described. A layer past one of them is left to the client. */

/** Entries of a tar. */
export const maxEntries = 500_000;

/** Bytes of a tar. Zeros take no space of the disk, but time. */
export const maxTarBytes = 512 * 2 ** 30;

/**
 * A long tar may be so many times as long as its blob: deflate reaches 1032, with zeros, and zstd much more. Layers of
 * programs have 2 to 5.
 */
export const maxRatio = 1100;

/** What is long. */
export const longTarBytes = 16 * 2 ** 30;

/** Bytes that must stay free on the disk for others while a layer is written. */
export const keepFreeBytes = 64 * 2 ** 20;

/** How often the disk is asked for that, in bytes written. */
export const freeCheckBytes = 64 * 2 ** 20;

/** What a blob's content is guessed to take of the disk before anything is known of it. */
export const usualRatio = 3;
