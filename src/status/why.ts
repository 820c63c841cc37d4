import { isIndexable, lazyAfterPull } from '../image-reader/indexable.ts';
import type { LayerReport } from '../image-reader/inspect.ts';
import { refusalAdvice, type RefusalReason } from '../layers/resolve/refusal.ts';
import { defaultTag, parseReference, type Reference } from '../registry/reference.ts';
import type { PrepareOutcome } from '../snapshots/prepare-history.ts';

/** Whether a layer is lazy, and if not, why and what to do. */
export interface LayerVerdict {
  readonly digest: string;
  /** Bytes of the blob; undefined if the registry could not be asked. */
  readonly bytes: number | undefined;
  /**
   * `lazy`: the daemon has it so. `refused`: the daemon left it to the client. `possible`: it could be lazy, and the
   * daemon was not asked. `impossible`: it cannot be lazy.
   */
  readonly verdict: 'lazy' | 'refused' | 'possible' | 'impossible';
  /** Undefined for a layer that is lazy or can be. */
  readonly reason: RefusalReason | undefined;
  readonly message: string;
  /** What to do; '' for nothing. */
  readonly advice: string;
  /** When the daemon was last asked for it, in milliseconds since 1970; undefined if it does not know. */
  readonly askedMs: number | undefined;
}

/** What a daemon knows about layers. */
export interface DaemonMemory {
  /** The outcomes of Prepare for layers that clients asked for, the latest last. */
  readonly outcomes: readonly PrepareOutcome[];
  /** The digests of the mounted layers. */
  readonly mounted: ReadonlySet<string>;
}

/** Combines what the registry has with what a daemon did; `memory` is undefined if no daemon answered. */
export function explainLayers(
  image: Reference,
  layers: readonly LayerReport[],
  memory: DaemonMemory | undefined,
): LayerVerdict[] {
  const { outcomes = [], mounted } = memory ?? {};
  // A layer that several images have may have been refused only for another image.
  const own = outcomes.filter(({ reference }) => isOf(image, reference));
  const last = new Map([...outcomes, ...own].map((outcome) => [outcome.digest, outcome]));
  return layers.map((layer) => explain(layer, last.get(layer.digest), mounted));
}

/** The same for an image that the registry does not give: only for the layers that a client asked the daemon for. */
export function explainOutcomes(image: Reference, outcomes: readonly PrepareOutcome[]): LayerVerdict[] {
  return outcomes.filter(({ reference }) => isOf(image, reference)).map((outcome) => verdictOf(outcome, undefined));
}

function isOf(image: Reference, text: string): boolean {
  try {
    const { host, repository, tag, digest } = parseReference(text);
    if (host !== image.host || repository !== image.repository) return false;
    if (image.digest !== undefined && digest !== undefined) return image.digest === digest;
    return (tag ?? defaultTag) === (image.tag ?? defaultTag);
  } catch {
    return false;
  }
}

function explain(
  report: LayerReport,
  outcome: PrepareOutcome | undefined,
  mounted: ReadonlySet<string> | undefined,
): LayerVerdict {
  const { digest, bytes, problem, index } = report;
  if (outcome !== undefined) {
    const verdict = verdictOf(outcome, bytes);
    if (verdict.reason === 'no_toc') return withToc(verdict, problem);
    const isOver = problem === undefined && verdict.reason !== undefined && passing.has(verdict.reason);
    return isOver ? { ...verdict, advice: readableNow } : verdict;
  }
  const about = { digest, bytes, askedMs: undefined };
  const fine = { ...about, reason: undefined, message: '' };
  if (mounted?.has(digest)) return { ...fine, verdict: 'lazy', advice: '' };
  if (isIndexable(report)) {
    return { ...fine, verdict: 'possible', message: lazyAfterPull, advice: mounted === undefined ? '' : neverAsked };
  }
  if (problem !== undefined) {
    return { ...about, verdict: 'impossible', ...problem, advice: refusalAdvice[problem.reason] };
  }
  const message = index === undefined ? '' : `by an index ${index}`;
  return { ...fine, verdict: 'possible', message, advice: mounted === undefined ? '' : neverAsked };
}

/** A daemon that got no TOC digest cannot tell whether the layer has a TOC; the registry can. */
function withToc(verdict: LayerVerdict, problem: LayerReport['problem']): LayerVerdict {
  if (problem === undefined) return { ...verdict, advice: digestNow };
  if (problem.reason !== 'no_toc' && problem.reason !== 'no_toc_digest') return verdict;
  return { ...verdict, ...problem, advice: refusalAdvice[problem.reason] };
}

function verdictOf(
  { digest, atMs, reason, message, how, howText }: PrepareOutcome,
  bytes: number | undefined,
): LayerVerdict {
  const about = { digest, bytes, askedMs: atMs };
  if (reason === undefined) {
    const message = how === undefined || how === 'toc' ? '' : (howText ?? '');
    return { ...about, verdict: 'lazy', reason, message, advice: '' };
  }
  return { ...about, verdict: 'refused', reason, message, advice: refusalAdvice[reason] };
}

const neverAsked =
  'no client asked the daemon for it since it started: the client has the layer already, or uses another snapshotter (in BuildKit it must be called "stargz")';

const readableNow = 'the registry gives it now: remove the image from the client and try again';

const digestNow =
  'the manifest has its TOC digest now, or the client did not pass that on: remove the image from the client and try again';

/** Reasons that end when the registry gives the layer's index. */
const passing: ReadonlySet<RefusalReason> = new Set(['credentials', 'not_found', 'registry']);
