import { type ErrorCode, LazypullError } from '../../errors.ts';

/** Why a layer is not lazy, as a word that metrics and `lazypull why` use. */
export const refusalReasons = [
  'annotations',
  'no_toc',
  'no_toc_digest',
  'size',
  'format',
  'content',
  'credentials',
  'not_found',
  'registry',
  'unsupported',
  'stacking',
  'name',
  'limit',
  'machine',
  'other',
] as const;
export type RefusalReason = (typeof refusalReasons)[number];

/** An error whose class alone does not say why a layer is not lazy. */
export class Refusal extends LazypullError {
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, code: ErrorCode, message: string, options?: { cause: unknown }) {
    super(code, message, options);
    this.reason = reason;
  }
}

/** What a person can do about each reason. */
export const refusalAdvice: Readonly<Record<RefusalReason, string>> = {
  annotations:
    'the client names no image: enable snapshot annotations in it (containerd: enable_remote_snapshot_annotations), and call the snapshotter "stargz" in BuildKit',
  no_toc: 'convert the image with "lazypull convert", or set mode = "pull" in [unindexed] of the daemon\'s config.toml',
  size: "change min_size or max_size in [unindexed] of the daemon's config.toml if the daemon should pull it",
  no_toc_digest:
    'push the image again, in OCI media types (BuildKit: oci-mediatypes=true) and with a tool that keeps the annotations of manifests; or convert it with "lazypull convert"',
  format: 'lazypull cannot read the layer by its table of contents: convert the image with "lazypull convert"',
  unsupported: 'layers of this kind cannot be lazy: the client pulls it as usual',
  content: 'the layer contradicts its digests or itself: build or convert the image again',
  credentials: 'log in with "docker login" on the machine of the daemon, as the user that it runs as',
  not_found: 'the registry does not have the layer any more: push the image again',
  registry: 'check that the daemon can reach the registry, its mirrors and its proxies',
  stacking:
    'this layer changes the layers below it in a way that only unpacking keeps: the client pulls it, and nothing has to be done',
  name: 'the client has another snapshot of that name: remove it, or prune its cache',
  limit: 'the layer is past a bound, or this machine lacks what it takes: the message says which',
  machine: 'the layer could not be mounted on this machine: the log of the daemon has details',
  other: 'the log of the daemon has details',
};
