import { LazypullError } from '../errors.ts';

/**
 * What modules add to a list of named things that is built in: each has one as its default export.
 *
 * @param what they are, for messages: "layer format"
 * @throws InvalidArgument for a module that exports none, or one whose name another has
 */
export async function loadModules<T extends { readonly name: string }>(
  modules: readonly string[],
  builtIn: readonly T[],
  what: string,
): Promise<T[]> {
  const added: T[] = [];
  for (const url of modules) {
    const { default: one } = (await import(url)) as { default?: T };
    const isNew = one !== undefined && [...added, ...builtIn].every(({ name }) => name !== one.name);
    if (!isNew) throw new LazypullError('InvalidArgument', `The module "${url}" does not export a new ${what}`);
    added.push(one);
  }
  return added;
}
