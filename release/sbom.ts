import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from '../test/support/tools.ts';
import type { DebianPackage } from './builder-base.ts';
import type { BuilderContents } from './builder-image.ts';
import type { GoModule } from './buildkit.ts';
import type { Source } from './source.ts';
import { type Architecture, cpus } from './tree.ts';

/** A package of an npm lock file, by its path there. */
export interface LockedPackage {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  /** As in `sha512-BASE64`. */
  readonly integrity: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly dev?: boolean;
  readonly os?: string | readonly string[];
  readonly cpu?: string | readonly string[];
}

/**
 * What a release has inside, as a document of SPDX 2.3: lazypull, the packages of package-lock.json that an
 * installation has, and Node; and the builder, with the packages of Debian and the Go modules in its images.
 */
export async function sbomOf(
  source: Source,
  architectures: readonly Architecture[],
  images: readonly BuilderContents[],
): Promise<object> {
  const packages = await releasedPackages(architectures);
  const { dependencies } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as LockedPackage;
  const own = { name: 'lazypull', version: source.version };
  const relate = (from: string, to: string) => ({
    spdxElementId: from,
    relationshipType: 'DEPENDS_ON',
    relatedSpdxElement: to,
  });
  const relationships = [
    { spdxElementId: 'SPDXRef-DOCUMENT', relationshipType: 'DESCRIBES', relatedSpdxElement: idOf(own) },
  ];
  for (const [path, each] of packages) {
    const isDirect = path in (dependencies ?? {}) || path.startsWith('node-linux-');
    if (isDirect) relationships.push(relate(idOf(own), idOf(each)));
    for (const name of Object.keys({ ...each.dependencies, ...each.optionalDependencies })) {
      const found = resolved(packages, path, name);
      if (found !== undefined) relationships.push(relate(idOf(each), idOf(found)));
    }
  }
  const builder = { name: 'lazypull-builder', version: source.version };
  relationships.push(
    { spdxElementId: 'SPDXRef-DOCUMENT', relationshipType: 'DESCRIBES', relatedSpdxElement: idOf(builder) },
    relate(idOf(builder), idOf(own)),
  );
  const foreign = new Map<string, object>();
  for (const each of images.flatMap(componentsOf)) {
    if (!foreign.has(each.SPDXID)) relationships.push(relate(idOf(builder), each.SPDXID));
    foreign.set(each.SPDXID, each);
  }
  const body = {
    packages: [
      { ...describe(builder, 'Apache-2.0'), primaryPackagePurpose: 'CONTAINER' },
      ...foreign.values(),
      { ...describe(own, 'Apache-2.0'), primaryPackagePurpose: 'APPLICATION' },
      ...[...packages.values()].map((each) => ({
        ...describe(each, each.license ?? 'NOASSERTION'),
        checksums: [{ algorithm: 'SHA512', checksumValue: sha512Of(each) }],
      })),
    ],
    relationships,
  };
  const digest = createHash('sha256').update(JSON.stringify(body)).digest('hex');
  return {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `lazypull-${source.version}`,
    documentNamespace: `https://spdx.org/spdxdocs/lazypull-${source.version}-${digest}`,
    creationInfo: {
      created: new Date(source.epoch * 1000).toISOString().replace('.000', ''),
      creators: [`Tool: lazypull-script-release-${source.version}`],
    },
    ...body,
  };
}

/** The packages that are in a release for these architectures, by their paths below node_modules. */
export async function releasedPackages(architectures: readonly Architecture[]): Promise<Map<string, LockedPackage>> {
  const wanted = (each: LockedPackage) =>
    each.dev !== true &&
    [each.os ?? 'linux'].flat().includes('linux') &&
    architectures.some((name) => [each.cpu ?? cpus[name]].flat().includes(cpus[name]));
  const packages = new Map<string, LockedPackage>();
  for (const file of ['package-lock.json', 'tools/node/package-lock.json']) {
    const lock = JSON.parse(await readFile(join(repository, file), 'utf8')) as {
      packages: Record<string, LockedPackage>;
    };
    for (const [path, each] of Object.entries(lock.packages)) {
      if (path === '' || !wanted(each)) continue;
      const name = path.replace(/^.*node_modules\//, '');
      packages.set(path.replace(/^node_modules\//, ''), { ...each, name });
    }
  }
  return packages;
}

/** The SHA-512 of a package's tarball, in hexadecimal digits. */
export function sha512Of({ name, integrity }: LockedPackage): string {
  const [, base64] = /^sha512-([\w+/]+=*)$/.exec(integrity) ?? [];
  if (base64 === undefined) throw new Error(`Cannot read the integrity of ${name} in a lock file: "${integrity}"`);
  return Buffer.from(base64, 'base64').toString('hex');
}

/** The package URL of a package of npm. */
export function purlOf({ name, version }: { name: string; version: string }): string {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`;
}

function idOf({ name, version }: { name: string; version: string }): string {
  return `SPDXRef-Package-${`${name}-${version}`.replace(/[^a-zA-Z0-9.-]/g, '-')}`;
}

/** What is in an image of a builder and comes neither from us nor from npm. */
function componentsOf({ debian, go }: BuilderContents): Described[] {
  return [
    ...debian.map((each) => ({
      ...describe(each, 'NOASSERTION', debianPurlOf(each)),
      SPDXID: idOf({ ...each, name: `deb-${each.name}-${each.architecture}` }),
      checksums: [{ algorithm: 'SHA256', checksumValue: each.sha256 }],
    })),
    ...go.map((each) => ({
      ...describe({ name: each.path, version: each.version }, 'NOASSERTION', goPurlOf(each)),
      SPDXID: idOf({ name: `go-${each.path}`, version: each.version }),
    })),
  ];
}

/** The package URL of a package of Debian. */
export function debianPurlOf({ name, version, architecture }: DebianPackage): string {
  return `pkg:deb/debian/${name}@${version.replace(':', '%3A')}?arch=${architecture}`;
}

/** The package URL of a Go module. */
export function goPurlOf({ path, version }: GoModule): string {
  return `pkg:golang/${path}@${version}`;
}

/** A package in the document. */
type Described = Readonly<Record<string, unknown>> & { readonly SPDXID: string };

function describe(each: { name: string; version: string }, licence: string, purl = purlOf(each)): Described {
  return {
    name: each.name,
    SPDXID: idOf(each),
    versionInfo: each.version,
    downloadLocation: 'NOASSERTION',
    filesAnalyzed: false,
    licenseConcluded: 'NOASSERTION',
    licenseDeclared: licence,
    copyrightText: 'NOASSERTION',
    externalRefs: [{ referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: purl }],
  };
}

/** What a package at `path` gets if it imports `name`: from its own node_modules, else from one further out. */
function resolved(packages: ReadonlyMap<string, LockedPackage>, path: string, name: string): LockedPackage | undefined {
  for (let at = `${path}/node_modules/`; ; at = at.replace(/[^/]+(\/[^/]+)?\/node_modules\/$/, '')) {
    const found = packages.get(`${at}${name}`);
    if (found !== undefined || at === '') return found;
    if (!at.endsWith('/node_modules/')) return packages.get(name);
  }
}
