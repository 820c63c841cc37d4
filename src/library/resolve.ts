import type { ResolvedImage } from '../images/resolve.ts';
import type { RegistryClient } from '../registry/client.ts';

/** Which image a reference stands for, if there are several. */
export interface ImageOptions {
  /** `OS/ARCHITECTURE[/VARIANT]`, as in `linux/arm64`. By default that of this machine, if there is a choice. */
  readonly platform?: string | undefined;
  /** Stops resolving the reference. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The image of one platform that a reference stands for.
 *
 * @throws as `resolveImage`, and InvalidArgument for an invalid reference or platform
 * @internal
 */
export async function resolve(
  client: RegistryClient,
  reference: string,
  { platform, signal }: ImageOptions,
): Promise<ResolvedImage> {
  const { resolveImage } = await import('../images/resolve.ts');
  const { parsePlatform } = await import('../images/platforms.ts');
  const { parseReference } = await import('../registry/reference.ts');
  const asked = platform === undefined ? undefined : parsePlatform(platform);
  return resolveImage(client, parseReference(reference), asked, signal);
}
