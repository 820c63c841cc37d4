import { lstatSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { errnoOf } from '../errors.ts';
import type { Usage } from './snapshot.ts';

const BLOCK_BYTES = 512;

/**
 * A walk shorter than this is repeated at every call. The result of a longer one is used for `keptFactor` times as
 * long, and `maxKeptMs` at most.
 */
const shortWalkMs = 20;
const keptFactor = 50;
const maxKeptMs = 60_000;

/**
 * The usage of trees that are written to. CRI asks for the usage of every container every ten seconds. Counting takes 2
 * % of a core at most.
 */
export class TreeUsages {
  readonly #answers = new Map<string, { usage: Promise<Usage>; untilMs: number }>();

  /** As `diskUsage`. If that takes long, the result may be up to a minute old. Concurrent calls share a walk. */
  of(root: string): Promise<Usage> {
    const known = this.#answers.get(root);
    if (known !== undefined && performance.now() < known.untilMs) return known.usage;
    const startedMs = performance.now();
    const answer = { usage: diskUsage(root), untilMs: Number.POSITIVE_INFINITY };
    this.#answers.set(root, answer);
    const settle = (isKept: boolean): void => {
      const tookMs = performance.now() - startedMs;
      answer.untilMs = performance.now() + Math.min(tookMs * keptFactor, maxKeptMs);
      if ((!isKept || tookMs < shortWalkMs) && this.#answers.get(root) === answer) this.#answers.delete(root);
    };
    answer.usage.then(
      () => settle(true),
      () => settle(false),
    );
    return answer.usage;
  }

  /** To be called when a tree is gone. */
  forget(root: string): void {
    this.#answers.delete(root);
  }
}

/**
 * How many inodes are looked at before other work has its turn. That takes a millisecond or less, if the kernel has
 * them in memory.
 */
const sliceInodes = 200;

/**
 * The allocated bytes and the inodes of a tree with its root, as containerd counts them (continuity, fs.DiskUsage): the
 * blocks of every inode, and each hard link once. It does not count what vanishes meanwhile, or lies deeper than a path
 * can say. It looks at one inode after the other and blocks for each, in slices: waiting for a thread takes four times
 * as long.
 */
export async function diskUsage(root: string): Promise<Usage> {
  const linked = new Set<string>();
  let inodes = 0;
  let bytes = 0;

  const count = (path: Buffer): boolean => {
    const stat = statOf(path);
    if (stat === undefined) return false;
    const isDirectory = stat.isDirectory();
    if (stat.nlink > 1n && !isDirectory) {
      const inode = `${stat.dev}:${stat.ino}`;
      if (linked.has(inode)) return false;
      linked.add(inode);
    }
    inodes++;
    bytes += Number(stat.blocks) * BLOCK_BYTES;
    return isDirectory;
  };

  const pending: Buffer[] = [];
  let asked = 0;
  if (count(Buffer.from(root))) pending.push(Buffer.from(root));
  for (let directory = pending.pop(); directory; directory = pending.pop()) {
    const prefix = Buffer.concat([directory, Buffer.from('/')]);
    for (const name of await namesIn(directory)) {
      const path = Buffer.concat([prefix, name]);
      if (count(path)) pending.push(path);
      if (++asked % sliceInodes === 0) await setImmediate();
    }
  }
  return { inodes, bytes };
}

function statOf(path: Buffer) {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    if (isOutOfReach(error)) return undefined;
    throw error;
  }
}

async function namesIn(directory: Buffer): Promise<Buffer[]> {
  try {
    return await readdir(directory, { encoding: 'buffer' });
  } catch (error) {
    if (isOutOfReach(error)) return [];
    throw error;
  }
}

function isOutOfReach(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(errnoOf(error) ?? '');
}

/**
 * The namespace of CRI. Its syncer asks once for the usage of a committed snapshot and keeps the answer
 * (internal/cri/server/images/snapshots.go).
 */
const criNamespace = 'k8s.io';

/** Whether a client that asks for a namespace keeps the answer as long as the snapshot exists. */
export function keepsUsage(namespace: string): boolean {
  return namespace === criNamespace;
}
