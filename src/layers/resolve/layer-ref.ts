import { LazypullError } from '../../errors.ts';
import { Refusal } from './refusal.ts';

/** Where a layer comes from and what it must be, as a client's labels say. */
export interface LayerSource {
  /** The image as Docker writes references. */
  readonly reference: string;
  /** `sha256:<64 hex>` of the compressed layer. */
  readonly digest: string;
  /** `sha256:<64 hex>` of the uncompressed table of contents, from the manifest that the client verified. */
  readonly tocDigest: string;
  /** Digests of the layers above this one in the image, nearest first, as far as the client told. */
  readonly siblings: readonly string[];
  /** How much of the blob's start the client wants at once, in bytes; undefined where it does not say. */
  readonly prefetchBytes: number | undefined;
}

type Labels = Readonly<Record<string, string>>;

const tocDigestLabel = 'containerd.io/snapshot/stargz/toc.digest';

/** The two families of labels that clients send, in the order in which stargz-snapshotter tries them. */
const families = [
  {
    reference: 'containerd.io/snapshot/cri.image-ref',
    digest: 'containerd.io/snapshot/cri.layer-digest',
    layers: 'containerd.io/snapshot/cri.image-layers',
  },
  {
    reference: 'containerd.io/snapshot/remote/stargz.reference',
    digest: 'containerd.io/snapshot/remote/stargz.digest',
    layers: 'containerd.io/snapshot/remote/stargz.layers',
  },
];

const prefetchLabel = 'containerd.io/snapshot/remote/stargz.prefetch';

const maxSiblings = 256;
const digestPattern = /^sha256:[0-9a-f]{64}$/;

/** Reads the labels of a Prepare call. Throws an error that says which label is missing or wrong, and what that means. */
export function layerSource(labels: Labels): LayerSource {
  const family = families.find(({ reference, digest }) => labels[reference] && labels[digest]);
  if (family === undefined) {
    throw new Refusal(
      'annotations',
      'InvalidArgument',
      'The client sent no image reference and layer digest: enable snapshot annotations in the client',
    );
  }
  const digest = labels[family.digest]!;
  if (!digestPattern.test(digest)) {
    throw new LazypullError('InvalidArgument', `The layer digest "${digest.slice(0, 100)}" is not a sha256 digest`);
  }
  const tocDigest = labels[tocDigestLabel];
  if (!tocDigest) {
    throw new Refusal(
      'no_toc',
      'FailedPrecondition',
      'The manifest has no TOC digest for the layer: it is not eStargz, or its annotation was lost; "lazypull why" tells which',
    );
  }
  if (!digestPattern.test(tocDigest)) {
    throw new LazypullError('InvalidArgument', `The TOC digest "${tocDigest.slice(0, 100)}" is not a sha256 digest`);
  }
  const siblings = (labels[family.layers] ?? '').split(',', maxSiblings);
  return {
    reference: labels[family.reference]!,
    digest,
    tocDigest,
    siblings: siblings.filter((sibling) => digestPattern.test(sibling) && sibling !== digest),
    prefetchBytes: prefetchBytes(labels[prefetchLabel]),
  };
}

/** The labels that name a layer, for who mounts it without a client. */
export function labelsOf(reference: string, digest: string, tocDigest: string): Labels {
  return { [families[1]!.reference]: reference, [families[1]!.digest]: digest, [tocDigestLabel]: tocDigest };
}

function prefetchBytes(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
