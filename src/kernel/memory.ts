import koffi from 'koffi';

const mallocTrim = koffi.load('libc.so.6').func('int malloc_trim(size_t pad)');

/** Gives memory that the C library keeps free for later back to the kernel: worth it after a thread has ended. */
export async function trimMemory(): Promise<void> {
  await new Promise<void>((resolve) => {
    mallocTrim.async(0, () => resolve());
  });
}
