import { LazypullError } from '../errors.ts';
import { criLabels, stargzLabels } from '../label-names.ts';
import type { Labels } from './snapshot.ts';

/** The image reference and the layer digest that labels name, for messages; undefined if they name none. */
export function sourceOf(labels: Labels): { reference: string | undefined; digest: string | undefined } {
  const first = (keys: readonly string[]) => keys.map((key) => labels[key]).find((value) => value);
  return {
    reference: first([stargzLabels.reference, criLabels.reference]),
    digest: first([stargzLabels.digest, criLabels.digest]),
  };
}

/**
 * Whether a label lives only as long as one call of BuildKit. BuildKit copies each label of a layer to `<key>.<25
 * characters of base 36>` before every mount and deletes the copies after it (buildkit cache/refs.go,
 * makeTmpLabelsStargzMode). A process that starts later does not need them.
 */
export function isTemporary(key: string): boolean {
  return /^containerd\.io\/snapshot[./].*\.[0-9a-z]{25}$/.test(key);
}

/** Bytes of a snapshot's labels in UTF-8. A message with all of them still fits into gRPC's 16 MiB. */
const maxLabelBytes = 15 * 1024 * 1024;

/** Labels of a snapshot. Reading more of them would block all other calls for too long. */
const maxLabels = 65_536;

/**
 * @throws InvalidArgument for labels that no answer could hold: a client could not even list the snapshot to remove it
 */
export function checkLabels(labels: Labels): void {
  if (Object.keys(labels).length > maxLabels) {
    throw new LazypullError('InvalidArgument', `A snapshot has at most ${maxLabels} labels`);
  }
  if (labelBytes(labels) <= maxLabelBytes) return;
  throw new LazypullError('InvalidArgument', `The labels of a snapshot have at most ${maxLabelBytes} bytes`);
}

/** The bytes of all keys and values. */
export function labelBytes(labels: Labels): number {
  let bytes = 0;
  for (const [key, value] of Object.entries(labels)) bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  return bytes;
}

/**
 * Splits labels into those that must survive a crash and those that need not. Empty values are dropped, as in
 * containerd's store.
 */
export function splitLabels(labels: Labels): { durable: Labels; temporary: Labels } {
  const entries = Object.entries(labels).filter(([, value]) => value !== '');
  return {
    durable: Object.fromEntries(entries.filter(([key]) => !isTemporary(key))),
    temporary: Object.fromEntries(entries.filter(([key]) => isTemporary(key))),
  };
}

/**
 * The labels after an update with a field mask. Keys contain dots and slashes, so only the prefix `labels.` is cut off
 * a path.
 *
 * @param current the labels now
 * @param given the labels of the request; an absent or empty one deletes the label
 * @param paths `labels`, `labels.<key>`; none replaces all. Throws InvalidArgument for any other.
 */
export function updateLabels(current: Labels, given: Labels, paths: readonly string[]): Labels {
  let result = new Map(Object.entries(current));
  for (const path of paths.length === 0 ? ['labels'] : new Set(paths)) {
    if (path === 'labels') {
      result = new Map(Object.entries(given));
    } else if (path.startsWith('labels.')) {
      const key = path.slice('labels.'.length);
      result.set(key, (Object.hasOwn(given, key) ? given[key] : undefined) ?? '');
    } else {
      throw new LazypullError('InvalidArgument', `Cannot update the field "${path}" of a snapshot, only its labels`);
    }
  }
  return Object.fromEntries([...result].filter(([, value]) => value !== ''));
}

/** Whether two sets of labels are the same. */
export function sameLabels(a: Labels, b: Labels): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key]);
}
