/**
 * Makes an async generator into an iterable whose `return` also ends a `next` that is still waiting, which a
 * generator's own `return` does not. The generator gets a signal that aborts then, or when `signal` aborts. After
 * `return` the iteration is done, whatever the generator throws.
 */
export function stoppable<T>(
  open: (stop: AbortSignal) => AsyncGenerator<T, void>,
  signal: AbortSignal | undefined,
): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const controller = new AbortController();
      const stop = signal === undefined ? controller.signal : AbortSignal.any([controller.signal, signal]);
      return iterator(open(stop), controller);
    },
  };
}

function iterator<T>(items: AsyncGenerator<T, void>, controller: AbortController): AsyncIterator<T, undefined> {
  const done = { done: true, value: undefined } as const;
  return {
    async next() {
      try {
        const next = await items.next();
        return next.done ? done : next;
      } catch (error) {
        if (controller.signal.aborted) return done;
        throw error;
      }
    },
    async return() {
      controller.abort();
      await items.return();
      return done;
    },
  };
}
