import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Buildkitd, startBuildkitd } from '../test/support/buildkitd.ts';
import { startDaemon } from '../test/support/daemon.ts';
import type { OpenLink } from './relay/relay-process.ts';
import type { Snapshotter } from './snapshotter.ts';
import { startStargz } from './stargz.ts';

export const subjectIds = [
  'full',
  'lazypull',
  'lazypull-trace',
  'lazypull-warm',
  'lazypull-index',
  'lazypull-team',
  'stargz',
] as const;

/** What is compared. */
export type SubjectId = (typeof subjectIds)[number];

/** One of the ways to get at a base image. Every measurement starts from nothing but what the subject says. */
export interface Subject {
  readonly id: SubjectId;
  readonly title: string;
  /** What is there when the clock starts. */
  readonly explanation: string;
  /**
   * What its snapshotter knows when the clock starts. `served`: it has served the same work to another buildkitd.
   * `trace`: the trace of a fresh one that has served the same first work. `index`: the layer indexes that such a one
   * has made. `team`: nothing, but such indexes are in the team's repository.
   */
  readonly knows: 'nothing' | 'served' | 'trace' | 'index' | 'team';
  /**
   * Starts its snapshotter with fresh state in `directory`; undefined if BuildKit's own overlayfs is the subject. The
   * team's repository is behind the link.
   */
  startSnapshotter(directory: string, link: Pick<OpenLink, 'host'>): Promise<Snapshotter | undefined>;
}

/** The subjects that can be measured on this machine. `stargz` is the Go daemon, if there is one. */
export function availableSubjects(stargz: string | undefined, backgroundFill: boolean): Subject[] {
  const lazypull = (directory: string) => startLazypull(directory, backgroundFill);
  const subjects: Subject[] = [
    {
      id: 'full',
      title: 'full pull',
      explanation: 'stock BuildKit with overlayfs, which pulls and unpacks the image',
      knows: 'nothing',
      startSnapshotter: () => Promise.resolve(undefined),
    },
    {
      id: 'lazypull',
      title: 'lazypull',
      explanation: 'lazypull that has never seen the image',
      knows: 'nothing',
      startSnapshotter: lazypull,
    },
    {
      id: 'lazypull-trace',
      title: 'lazypull, trace',
      explanation: 'lazypull that was given the trace of the same work by another one, and nothing else',
      knows: 'trace',
      startSnapshotter: lazypull,
    },
    {
      id: 'lazypull-warm',
      title: 'lazypull, warm',
      explanation: 'lazypull that has served the same work once; BuildKit knows nothing of that',
      knows: 'served',
      startSnapshotter: lazypull,
    },
    {
      id: 'lazypull-index',
      title: 'lazypull, index',
      explanation:
        'lazypull that has the layer indexes which another one made of the unmodified image, and nothing else',
      knows: 'index',
      startSnapshotter: lazypull,
    },
    {
      id: 'lazypull-team',
      title: "lazypull, team's index",
      explanation:
        "lazypull that has never seen the unmodified image, whose layer indexes are in the team's repository behind the link",
      knows: 'team',
      startSnapshotter: (directory, { host }) =>
        startLazypull(directory, backgroundFill, `[index]\nrepository = "${teamRepository(host)}"\n`),
    },
  ];
  if (stargz !== undefined) {
    subjects.push({
      id: 'stargz',
      title: 'containerd-stargz-grpc',
      explanation: 'the Go daemon that has never seen the image',
      knows: 'nothing',
      startSnapshotter: (directory) => startStargz(stargz, directory, backgroundFill),
    });
  }
  return subjects;
}

/** Starts a buildkitd with fresh state in `directory` on the snapshotter, or on overlayfs if there is none. */
export async function startBuilder(directory: string, snapshotter: Snapshotter | undefined): Promise<Buildkitd> {
  await rm(directory, { recursive: true, force: true });
  return startBuildkitd(
    directory,
    snapshotter === undefined
      ? { kind: 'oci', snapshotter: 'overlayfs' }
      : { kind: 'oci', snapshotter: 'stargz', socket: snapshotter.socket },
  );
}

/** The root of the lazypull that is started with state in `directory`. */
export function lazypullRoot(directory: string): string {
  return join(directory, 'lp', 'root');
}

/** Where the indexes of a team are in a registry. */
export function teamRepository(host: string): string {
  return `${host}/team/indexes`;
}

function startLazypull(directory: string, backgroundFill: boolean, toml = ''): Promise<Snapshotter> {
  return startDaemon(join(directory, 'lp'), 'info', `no_background_fetch = ${!backgroundFill}\n${toml}`);
}
