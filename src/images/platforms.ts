import { readFileSync } from 'node:fs';
import { LazypullError } from '../errors.ts';
import { goList, type Json } from './go-json.ts';

/**
 * Platforms as github.com/containerd/platforms reads, compares and orders them: with it containerd and BuildKit choose
 * the image of an index that they run. `test/oracles/platforms` prints the answers of that package.
 */

/** The platform of an image (OCI image-spec, image-index.md). Missing fields are ''. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
  readonly osVersion: string;
  readonly osFeatures: readonly string[];
}

const thisOs = 'linux';

/** No platform names more. */
const maxOsFeatures = 256;

/** The platform in an index, or in an image's configuration; undefined if Go would not accept a field. */
export function platformOfJson(json: Json): Platform | undefined {
  const features = goList(json['os.features'], maxOsFeatures);
  const texts = ['os', 'architecture', 'variant', 'os.version'].map((field) => json[field] ?? '');
  if (features === undefined || ![...texts, ...features].every((text) => typeof text === 'string')) return undefined;
  const [os = '', architecture = '', variant = '', osVersion = ''] = texts as string[];
  return { os, architecture, variant, osVersion, osFeatures: features as string[] };
}

/** The fields of the JSON of a platform. */
export const platformFields = ['architecture', 'os', 'os.version', 'os.features', 'variant'];

/**
 * Reads a platform that users write: `OS[(VERSION+FEATURE…)]/ARCHITECTURE[/VARIANT]`, or only one of the two; the other
 * is this machine's.
 *
 * @throws InvalidArgument
 */
export function parsePlatform(text: string): Platform {
  const [first = '', second, variant = '', ...more] = text.split('/');
  const match = /^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$/.exec(first);
  const parts = text.split('/').slice(1);
  if (match === null || more.length > 0 || !parts.every((part) => /^[A-Za-z0-9_.-]+$/.test(part))) throw notOne(text);
  const os = normalOs(match[1]!);
  const features = (match[3] ?? '').split('+').map((feature) => decoded(feature, text));
  const about = { osVersion: decoded(match[2] ?? '', text), osFeatures: features.filter((feature) => feature !== '') };
  if (second !== undefined) {
    const normal = normalArchitecture(second, variant);
    return { os, ...about, ...(parts.length === 2 ? withVariant(normal) : withoutVariant(normal)) };
  }
  if (knownOs.has(os)) return { os, ...about, architecture: thisPlatform.architecture, variant: ownVariant() };
  const normal = withoutVariant(normalArchitecture(first, ''));
  if (!knownArchitectures.has(normal.architecture)) throw notOne(text);
  return { os: thisOs, ...about, ...normal };
}

/** A platform as Docker writes it, `os/architecture[/variant]`, with its other requirements. */
export function platformText({ os, architecture, variant, osVersion, osFeatures }: Platform): string {
  const features = [...new Set(osFeatures)].filter((feature) => feature !== '').sort();
  const more = [encoded(osVersion), ...features.map(encoded)].join('+');
  return [more === '' ? os : `${os}(${more})`, architecture, variant].filter((part) => part !== '').join('/');
}

/** Whether it stands for no machine, as the platform of an attestation does. */
export function isNoPlatform({ os, architecture }: Platform): boolean {
  return os === 'unknown' || architecture === 'unknown';
}

/** Which platforms a machine can run, and which of them it prefers. */
export class PlatformMatcher {
  readonly #asked: readonly Platform[];
  readonly #features: 'needed' | 'ignored';

  /**
   * It accepts everything that `platform` can run besides its own: older variants, and the architecture of 32 bits.
   *
   * @param features containerd before 2.3 ignores which features of the system an image needs
   */
  constructor(platform: Platform, features: 'needed' | 'ignored' = 'needed') {
    this.#asked = vectorOf(normal(platform));
    this.#features = features;
  }

  matches(platform: Platform): boolean {
    return this.#rank(platform) >= 0;
  }

  /** A comparison for `Array.sort`: the better match comes first. Two that match nothing are equal. */
  compare(one: Platform, another: Platform): number {
    const [a, b] = [this.#seen(one), this.#seen(another)];
    const [first, second] = [this.#rank(a), this.#rank(b)];
    if (first < 0 && second < 0) {
      if (a.osFeatures.length === 0 && b.osFeatures.length === 0) return 0;
      return this.compare({ ...a, osFeatures: [] }, { ...b, osFeatures: [] });
    }
    if (first < 0) return 1;
    if (second < 0) return -1;
    return first - second || b.osFeatures.length - a.osFeatures.length;
  }

  #rank(platform: Platform): number {
    return this.#asked.findIndex((asked) => isOne(asked, this.#seen(platform)));
  }

  #seen(platform: Platform): Platform {
    return this.#features === 'needed' || platform.os === 'windows' ? platform : { ...platform, osFeatures: [] };
  }
}

function isOne(asked: Platform, platform: Platform): boolean {
  const { os, architecture, variant, osVersion, osFeatures } = normal(platform);
  const wanted = normal(asked);
  const isSame = os === wanted.os && architecture === wanted.architecture && variant === wanted.variant;
  if (!isSame || (asked.os === 'windows' && !runsOnWindows(wanted.osVersion, osVersion))) return false;
  // On Windows, one "win32k" never counts.
  const stripped = asked.os === 'windows' ? withoutOne(platform.osFeatures, 'win32k') : osFeatures;
  return stripped.every((feature) => wanted.osFeatures.includes(feature));
}

function withoutOne(features: readonly string[], feature: string): readonly string[] {
  const at = features.indexOf(feature);
  return at < 0 ? features : features.toSpliced(at, 1);
}

function normal(platform: Platform): Platform {
  const { architecture, variant } = normalArchitecture(platform.architecture, platform.variant);
  return {
    ...platform,
    os: normalOs(platform.os),
    architecture,
    variant,
    osFeatures: [...new Set(platform.osFeatures)],
  };
}

function normalOs(os: string): string {
  if (os === '') return thisOs;
  const lower = os.toLowerCase();
  return lower === 'macos' ? 'darwin' : lower;
}

type Architecture = Pick<Platform, 'architecture' | 'variant'>;

function normalArchitecture(givenArchitecture: string, givenVariant: string): Architecture {
  const architecture = givenArchitecture.toLowerCase();
  const variant = givenVariant.toLowerCase();
  switch (architecture) {
    case 'i386':
      return { architecture: '386', variant: '' };
    case 'x86_64':
    case 'x86-64':
    case 'amd64':
      return { architecture: 'amd64', variant: variant === 'v1' ? '' : variant };
    case 'aarch64':
    case 'arm64':
      return { architecture: 'arm64', variant: arm64Variants[variant] ?? variant };
    case 'armhf':
      return { architecture: 'arm', variant: 'v7' };
    case 'armel':
      return { architecture: 'arm', variant: 'v6' };
    case 'arm':
      return { architecture, variant: armVariants[variant] ?? variant };
    default:
      return { architecture, variant };
  }
}

const arm64Variants: Readonly<Record<string, string>> = {
  '8': '',
  v8: '',
  'v8.0': '',
  '9': 'v9',
  '9.0': 'v9',
  'v9.0': 'v9',
};
const armVariants: Readonly<Record<string, string>> = { '': 'v7', '5': 'v5', '6': 'v6', '7': 'v7', '8': 'v8' };

/** How a platform without a variant is written. */
function withoutVariant({ architecture, variant }: Architecture): Architecture {
  return { architecture, variant: architecture === 'arm' && variant === 'v7' ? '' : variant };
}

function withVariant({ architecture, variant }: Architecture): Architecture {
  return { architecture, variant: architecture === 'arm64' && variant === '' ? 'v8' : variant };
}

/** What runs on a platform, the best first. */
function vectorOf(platform: Platform): Platform[] {
  const { architecture, variant } = platform;
  const like = (more: Architecture): Platform => ({ ...platform, ...more });
  switch (architecture) {
    case 'amd64':
      return [
        platform,
        ...versionsBelow(variant, 1).map((below) => like({ architecture, variant: below })),
        like({ architecture: '386', variant: '' }),
      ];
    case 'arm':
      return [platform, ...versionsBelow(variant, 5).map((below) => like({ architecture, variant: below }))];
    case 'arm64': {
      const own = arm64Versions(variant === '' ? 'v8' : variant);
      if (own === undefined) return [];
      return [
        ...own.map((version) => like({ architecture, variant: version })),
        ...vectorOf(like({ architecture: 'arm', variant: 'v8' })),
      ];
    }
    default:
      return [platform];
  }
}

/** `v4` and 1: `v3`, `v2`, `v1`. */
function versionsBelow(variant: string, least: number): string[] {
  const match = /^v?[+]?([0-9]{1,3})$/.exec(variant);
  const version = match === null ? 0 : Number(match[1]);
  const below: string[] = [];
  for (let next = version - 1; next >= least; next--) below.push(`v${next}`);
  return below;
}

/** Minor versions of Arm's version 8, and of 9. Each of the latter can do everything that one of version 8 can. */
const lastArm8 = 9;
const lastArm9 = 7;

function arm64Versions(variant: string): string[] | undefined {
  const match = /^v([89])(?:\.([0-9]))?$/.exec(variant);
  const minor = Number(match?.[2] ?? 0);
  if (match === null || minor > (match[1] === '8' ? lastArm8 : lastArm9)) return undefined;
  const down = (major: number, from: number): string[] =>
    Array.from({ length: from + 1 }, (_, i) => (i === from ? `v${major}` : `v${major}.${from - i}`));
  return match[1] === '8' ? down(8, minor) : [...down(9, minor), ...down(8, Math.min(minor + 5, lastArm8))];
}

/** Builds of Windows whose containers later builds run. */
const windows2022 = 20_348;
const windows2025 = 26_100;

function runsOnWindows(hostVersion: string, version: string): boolean {
  const host = windowsVersion(hostVersion);
  if (host.every((part) => part === 0) || version === '') return true;
  const [major, minor, build] = host;
  const [otherMajor, otherMinor, otherBuild] = windowsVersion(version);
  if (major !== otherMajor || minor !== otherMinor) return false;
  if (build < windows2022) return build === otherBuild;
  return (build > windows2025 ? windows2025 : windows2022) <= otherBuild && otherBuild <= build;
}

function windowsVersion(text: string): [major: number, minor: number, build: number] {
  const match = /^([0-9]+)\.([0-9]+)\.([0-9]+)(?:\.|$)/.exec(text);
  const [major, minor, build] = [1, 2, 3].map((i) => Number(match?.[i] ?? 0)) as [number, number, number];
  return major > 0xff || minor > 0xff || build > 0xffff ? [0, 0, 0] : [major, minor, build];
}

const architectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };

/** The platform of this machine, which containerd uses by default. Only Arm has a variant. */
export const thisPlatform: Platform = {
  os: thisOs,
  architecture: architectures[process.arch] ?? process.arch,
  variant: process.arch === 'arm64' ? 'v8' : process.arch === 'arm' ? armOfThisMachine() : '',
  osVersion: '',
  osFeatures: [],
};

function ownVariant(): string {
  return process.arch === 'arm' && thisPlatform.variant !== 'v7' ? thisPlatform.variant : '';
}

function armOfThisMachine(): string {
  try {
    const info = readFileSync('/proc/cpuinfo', 'utf8');
    const version = /^CPU architecture\s*:\s*([0-9]+)/im.exec(info)?.[1] ?? '7';
    return version === '7' && /^model name\s*:\s*armv6-compatible/im.test(info) ? 'v6' : `v${version}`;
  } catch {
    return 'v7';
  }
}

const knownOs: ReadonlySet<string> = new Set(
  'aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos'.split(
    ' ',
  ),
);
const knownArchitectures: ReadonlySet<string> = new Set(
  '386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le ppc riscv riscv64 s390 s390x sparc sparc64 wasm'.split(
    ' ',
  ),
);

function encoded(text: string): string {
  return text.replace(/[%+()/]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function decoded(text: string, whole: string): string {
  try {
    return text.includes('%') ? decodeURIComponent(text) : text;
  } catch {
    throw notOne(whole);
  }
}

function notOne(text: string): LazypullError {
  const what = 'write OS/ARCHITECTURE, as in "linux/arm64", or OS/ARCHITECTURE/VARIANT';
  return new LazypullError('InvalidArgument', `Cannot read the platform "${text}": ${what}`);
}
