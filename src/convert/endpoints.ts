import { LazypullError } from '../errors.ts';
import type { RegistryClient } from '../registry/client.ts';
import { parseReference } from '../registry/reference.ts';
import { type ImageDestination, RegistryDestination } from './destination.ts';
import { OciLayout, parseLayoutReference } from './oci-layout.ts';
import { type ImageSource, RegistrySource } from './source.ts';

/** Whether the text names an image or a place for one. @throws InvalidArgument if it does not. */
export function checkEndpoint(text: string): void {
  if (parseLayoutReference(text) === undefined) parseReference(text);
}

/**
 * The source and the destination that two arguments name: each a reference as Docker writes it, or
 * `oci-layout:DIR[:NAME][@DIGEST]`. Nothing is read yet.
 *
 * @throws InvalidArgument if one cannot be parsed, or if the destination has a digest
 */
export function openEndpoints(
  client: RegistryClient,
  source: string,
  destination: string,
): { source: ImageSource; destination: ImageDestination } {
  const sourceLayout = parseLayoutReference(source);
  const sourceReference = sourceLayout === undefined ? parseReference(source) : undefined;
  const destinationLayout = parseLayoutReference(destination);
  if (destinationLayout?.digest !== undefined) {
    const what = 'a destination is a name, its digest comes out of the conversion';
    throw new LazypullError('InvalidArgument', `Cannot write to "${destination}": ${what}`);
  }
  return {
    source:
      sourceLayout === undefined ? new RegistrySource(client, parseReference(source)) : new OciLayout(sourceLayout),
    destination:
      destinationLayout === undefined
        ? registryDestination(client, destination, sourceReference)
        : new OciLayout(destinationLayout),
  };
}

function registryDestination(
  client: RegistryClient,
  text: string,
  source: { host: string; repository: string } | undefined,
): RegistryDestination {
  const reference = parseReference(text);
  return new RegistryDestination(client, reference, source?.host === reference.host ? source.repository : undefined);
}
