import { type Digest, hexOf, isSha256 } from '../../chunks/digest.ts';
import { type LayerId, unindexed } from '../../chunks/layer-id.ts';
import type { Formats } from '../../formats/index.ts';
import type { Labels, LayerFormat } from '../../formats/layer-format.ts';
import type { ImageAccess } from '../../images/image-access.ts';
import { criLabels, prefetchLabel, stargzLabels } from '../../label-names.ts';
import { asRefusal } from './refusal-reason.ts';
import { Refusal } from './refusal.ts';

/** A layer as the labels of a snapshot name it. */
export interface NamedLayer {
  readonly id: LayerId;
  readonly format: LayerFormat;
  /** The image as Docker writes references. */
  readonly reference: string;
  /** Digests of the layers above this one in the image, nearest first, as far as the client named them. */
  readonly siblings: readonly Digest[];
  /** How many bytes of the blob's start the client wants at once; undefined if it does not say. */
  readonly prefetchBytes: number | undefined;
}

/** A layer as a client asks for it: what it must be, and the image that it comes from. */
export interface LayerRef extends Omit<NamedLayer, 'reference'> {
  readonly image: ImageAccess;
}

const maxSiblings = 256;

/**
 * Reads the labels of a Prepare call. Gives a refusal that says which label is missing or wrong if they name no layer.
 */
export function resolve(labels: Labels, formats: Formats): NamedLayer | Refusal {
  const family = [criLabels, stargzLabels].find(({ reference, digest }) => labels[reference] && labels[digest]);
  if (family === undefined) {
    return new Refusal(
      'annotations',
      'InvalidArgument',
      'The client sent no image reference and layer digest: enable snapshot annotations in the client',
    );
  }
  const digest = labels[family.digest]!;
  const siblings = (labels[family.layers] ?? '').split(',', maxSiblings);
  try {
    hexOf(digest, 'layer digest');
    const { format, index } = formats.identify(labels) ?? {
      format: formats.unindexed,
      index: unindexed(digest).index,
    };
    return {
      id: { digest, index },
      format,
      reference: labels[family.reference]!,
      siblings: siblings.filter((sibling) => isSha256(sibling) && sibling !== digest),
      prefetchBytes: prefetchBytes(labels[prefetchLabel]),
    };
  } catch (error) {
    return asRefusal(error);
  }
}

/** The refusal of a layer that is left to the client because it is unindexed. */
export function unindexedRefusal(): Refusal {
  return new Refusal(
    'no_toc',
    'FailedPrecondition',
    'The manifest has no TOC digest for the layer: it is not eStargz, or its annotation was lost; "lazypull why" tells which',
  );
}

/** The labels that name a layer, for a mount without a client. */
export function labelsOf(reference: string, { digest, index }: LayerId, format: LayerFormat): Labels {
  return { [stargzLabels.reference]: reference, [stargzLabels.digest]: digest, ...format.labelsOf(index) };
}

function prefetchBytes(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
