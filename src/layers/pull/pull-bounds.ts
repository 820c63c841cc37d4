/** Bounds on an unknown blob. A layer above one of them is left to the client. */

/** Entries of a tar. */
export const maxEntries = 500_000;

/** Bytes of a tar. Zeros take no space on the disk, but they take time. */
export const maxTarBytes = 512 * 2 ** 30;

/**
 * A long tar may be so many times as long as its blob: deflate reaches 1032, with zeros, and zstd much more. Layers of
 * programs have 2 to 5.
 */
export const maxRatio = 1100;

/** The length from which on a tar is long. */
export const longTarBytes = 16 * 2 ** 30;

/** Bytes that must stay free on the disk for others while a layer is written. */
export const keepFreeBytes = 64 * 2 ** 20;

/** How often free space is checked, in bytes written. */
export const freeCheckBytes = 64 * 2 ** 20;

/** The assumed ratio of disk space to blob size, before anything is known. */
export const usualRatio = 3;
