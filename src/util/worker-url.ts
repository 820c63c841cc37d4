/**
 * The URL of a worker's module beside its caller: `.ts` if the source runs as it is, `.js` in the build.
 *
 * @param importer the caller's `import.meta.url`
 * @param name the module without its extension, such as `./reader-worker`
 */
export function workerUrl(importer: string, name: string): URL {
  return new URL(`${name}${importer.endsWith('.ts') ? '.ts' : '.js'}`, importer);
}
