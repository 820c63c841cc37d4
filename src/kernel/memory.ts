import koffi from 'koffi';

const mallocTrim = koffi.load('libc.so.6').func('int malloc_trim(size_t pad)');

/** Returns memory to the kernel that the C library keeps for later use. That is worthwhile after a thread has ended. */
export async function trimMemory(): Promise<void> {
  await new Promise<void>((resolve) => {
    mallocTrim.async(0, () => resolve());
  });
}
