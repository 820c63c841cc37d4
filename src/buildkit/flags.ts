/** What the flags of buildkitd mean to us. */
export interface BuildkitPlan {
  /** The flags for buildkitd, in today's spelling. */
  args: string[];
  /** Socket of the snapshotter that the OCI worker uses; undefined if that worker is off. */
  snapshotterAddress: string | undefined;
  /** Socket of the containerd that the containerd worker uses; undefined if that worker is off. */
  containerdAddress: string | undefined;
  /** Whether buildkitd only prints its help or version and ends. */
  onlyAsks: boolean;
  /** What the user should know, a sentence each. */
  notes: string[];
}

/** The flag of the patched BuildKit that had proxy snapshotters first. */
const oldProxyFlag = 'oci-worker-proxy-snapshotter-address';
const proxyFlag = 'oci-worker-proxy-snapshotter-path';

const defaultContainerdAddress = '/run/containerd/containerd.sock';

/**
 * Reads the command line of buildkitd. It translates the old proxy flag, and takes `unix://` off its value, because
 * buildkitd wants a plain path. If only the name `stargz` is given, it adds the path, because that name alone would
 * start BuildKit's builtin snapshotter.
 *
 * @param args flags as the user wrote them: `--name=value`, `--name value`, or with one dash
 * @param defaultAddress socket of lazypull if no flag names one
 */
export function planBuildkit(args: readonly string[], defaultAddress: string): BuildkitPlan {
  const translated = translateProxyFlag(args);
  const notes: string[] = [];
  const path = flagValue(translated, proxyFlag);
  const snapshotter = flagValue(translated, 'oci-worker-snapshotter');
  const oci = flagValue(translated, 'oci-worker') !== 'false';
  const containerd = flagValue(translated, 'containerd-worker') === 'true';
  if (oci && path === undefined && snapshotter === 'stargz') {
    translated.push(`--${proxyFlag}=${defaultAddress}`);
    notes.push(`Adds --${proxyFlag}=${defaultAddress}, without which buildkitd uses its builtin snapshotter`);
  }
  if (oci && !containerd && snapshotter !== 'stargz') {
    notes.push('Without --oci-worker-snapshotter=stargz the OCI worker pulls every image before it starts');
  }
  if (containerd && flagValue(translated, 'containerd-worker-snapshotter') !== 'stargz') {
    notes.push(
      'Without --containerd-worker-snapshotter=stargz the containerd worker pulls every image before it starts',
    );
  }
  return {
    args: translated,
    snapshotterAddress: oci ? (path ?? defaultAddress) : undefined,
    containerdAddress: containerd
      ? stripScheme(flagValue(translated, 'containerd-worker-addr') ?? defaultContainerdAddress)
      : undefined,
    onlyAsks: /^h(elp)?$/.test(args[0] ?? '') || args.some((arg) => /^--?(h|help|v|version)$/.test(arg)),
    notes,
  };
}

function translateProxyFlag(args: readonly string[]): string[] {
  const result: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    const { name, value } = splitFlag(arg);
    if (name !== oldProxyFlag && name !== proxyFlag) {
      result.push(arg);
    } else if (value !== undefined) {
      result.push(`--${proxyFlag}=${stripScheme(value)}`);
    } else {
      const next = args[++i];
      result.push(next === undefined ? `--${proxyFlag}` : `--${proxyFlag}=${stripScheme(next)}`);
    }
  }
  return result;
}

/** The value of the last `--name`; "true" if it has none, undefined if it is absent. */
export function flagValue(args: readonly string[], wanted: string): string | undefined {
  let found: string | undefined;
  args.forEach((arg, i) => {
    const { name, value } = splitFlag(arg);
    if (name !== wanted) return;
    const next = args[i + 1];
    found = value ?? (next === undefined || next.startsWith('-') ? 'true' : next);
  });
  return found;
}

function splitFlag(arg: string): { name: string | undefined; value: string | undefined } {
  const match = /^--?([a-z][\w-]*)(?:=(.*))?$/s.exec(arg);
  return { name: match?.[1], value: match?.[2] };
}

function stripScheme(address: string): string {
  return address.replace(/^unix:\/\//, '');
}
