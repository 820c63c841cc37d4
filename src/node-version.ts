const neededMajor = 24;

/**
 * Tells the user of an old Node what is wrong before it fails at a module that it lacks. Import it first: modules are
 * evaluated in the order of the imports.
 *
 * @internal
 */
export function checkNodeVersion(version: string): void {
  const major = Number.parseInt(version, 10);
  if (major >= neededMajor) return;
  throw new Error(`Cannot use lazypull with Node ${version}: it needs Node ${neededMajor} or later`);
}

checkNodeVersion(process.versions.node);
