import type { Buildkitd } from '../../test/support/buildkitd.ts';
import type { Images, ImageSet } from '../images.ts';
import type { OpenLink } from '../relay/relay-process.ts';
import type { Snapshotter } from '../snapshotter.ts';
import type { SubjectId } from '../subjects.ts';

/** What is measured. */
export interface Work {
  /** As the options and the results name it. */
  readonly id: string;
  /** In Markdown: commands between backquotes. */
  readonly title: string;
}

/** What a scenario works with. */
export interface Cell {
  readonly subject: SubjectId;
  /** The link to the registry with the scenario's images. */
  readonly link: OpenLink;
  readonly set: ImageSet;
  /** For files of the scenario; removed after it. */
  readonly directory: string;
  /** Undefined if BuildKit's own overlayfs is the subject. */
  readonly snapshotter: Snapshotter | undefined;
  /** Throws for a scenario that is not `onBuildkit`. */
  readonly buildkitd: Buildkitd;
  readonly signal: AbortSignal;
  /** Whether a work is to be measured. */
  wants(work: Work): boolean;
  /** Measures one work. A number that `run` gives replaces the seconds that it took. */
  measure(work: Work, run: () => Promise<number | void>): Promise<void>;
}

/** Works that are measured one after the other on one set of daemons. */
export interface Scenario {
  readonly works: readonly Work[];
  readonly onBuildkit: boolean;
  /** Whether the link makes a difference; if not, it is measured on one. */
  readonly overLink: boolean;
  readonly subjects: readonly SubjectId[];
  setOf(images: Images): ImageSet;
  run(cell: Cell): Promise<void>;
}
