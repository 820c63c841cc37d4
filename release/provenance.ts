import { run } from '../test/support/program.ts';
import type { BuilderContents } from './builder-image.ts';
import { goVersion } from './buildkit.ts';
import { debianPurlOf, purlOf, releasedPackages, sha512Of } from './sbom.ts';
import type { Source } from './source.ts';
import type { Architecture } from './tree.ts';

/**
 * How the files of a release were made: a Statement of in-toto with the provenance of SLSA 1. It is not signed, and
 * says so in the name of its builder: it is worth as much as the channel that brings it.
 *
 * @param digests the SHA-256 of each file, by name
 */
export async function provenanceOf(
  source: Source,
  architectures: readonly Architecture[],
  images: readonly BuilderContents[],
  digests: ReadonlyMap<string, string>,
): Promise<object> {
  const packages = [...(await releasedPackages(architectures)).values()];
  // Go modules are what the go.sum of the commit says; what apt gives is said nowhere else.
  const debian = new Map(images.flatMap((each) => each.debian).map((each) => [debianPurlOf(each), each.sha256]));
  const commit = source.commit === undefined ? [] : [{ uri: 'git+file:.', digest: { gitCommit: source.commit } }];
  return {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [...digests].map(([name, sha256]) => ({ name, digest: { sha256 } })),
    predicateType: 'https://slsa.dev/provenance/v1',
    predicate: {
      buildDefinition: {
        buildType: 'urn:lazypull:script/release:1',
        externalParameters: { version: source.version, architectures },
        internalParameters: {
          sourceDateEpoch: source.epoch,
          uncommittedChanges: source.changed,
          tools: await toolVersions(),
        },
        resolvedDependencies: [
          ...commit,
          ...packages.map((each) => ({ uri: purlOf(each), digest: { sha512: sha512Of(each) } })),
          ...[...debian].map(([uri, sha256]) => ({ uri, digest: { sha256 } })),
        ],
      },
      runDetails: { builder: { id: 'urn:lazypull:unsigned-build-by-hand' } },
    },
  };
}

/** The programs that the bytes of a release depend on. */
async function toolVersions(): Promise<Record<string, string>> {
  const versions: Record<string, string> = { node: process.versions.node, go: await goVersion() };
  for (const name of ['npm', 'tar', 'gzip', 'dpkg-deb', 'xz', 'mmdebstrap']) {
    versions[name] = /\d+(\.\d+)+/.exec(await run(name, ['--version']))?.[0] ?? 'unknown';
  }
  return versions;
}
