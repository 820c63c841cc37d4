/** Bounds on a publisher's index. A layer above one of them is not lazy; the client pulls it in the ordinary way. */

/** Bytes of an uncompressed table of contents. A real one has some 300 bytes an entry. */
export const maxTocBytes = 160 * 1024 * 1024;

/** Rows of a table of contents: entries and further chunks. */
export const maxTocRows = 500_000;

/** Files and directories of one layer, including directories without an entry. */
export const maxNodes = 500_000;

/** Directories of one layer without an entry: a short table of contents can ask for very many. */
export const maxImpliedDirectories = 50_000;

/** Bytes of all names, link targets and extended attributes of a layer. A real one has some 80 an entry. */
export const maxTextBytes = 96 * 1024 * 1024;

/** The same two for all layers of an image that is opened as a whole; this takes some 600 MB of memory. */
export const maxImageRows = 1_000_000;
export const maxImageTextBytes = 128 * 1024 * 1024;

/** The memory of an extended attribute besides its text. */
export const xattrOverheadBytes = 128;

/** Linux's NAME_MAX. */
export const maxNameBytes = 255;

/** Linux's PATH_MAX. */
export const maxPathBytes = 4096;

/** The longest target that a Linux file system takes: PATH_MAX without the NUL. */
export const maxSymlinkBytes = 4095;

/** A chunk is held in memory as a whole. Writers cut at 4 MiB by default. */
export const maxChunkBytes = 64 * 1024 * 1024;

/** Zeros of the sparse files of a layer: a few bytes can ask for very many. */
export const maxHoleBytes = 16 * 2 ** 30;

/** What has to be inflated and thrown away before a chunk. */
export const maxInnerOffset = 256 * 1024 * 1024;
