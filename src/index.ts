// The entry for other programs. Each function loads the rooms that it needs when it is called. So any Node can import
// this file: an old one gets a clear error.
import './node-version.ts';

export { type ErrorCode, LazypullError } from './errors.ts';
export { type ConvertedImage, convertImage, type ConvertOptions, type LayerProgress } from './library/convert.ts';
export { type Image, type ImageFile, type ImageLayer, openImage } from './library/image.ts';
export { type ImageInspection, inspectImage, type LayerContent, type LayerInspection } from './library/inspect.ts';
export { type Login, openRegistry, type Registry, type RegistryOptions } from './library/registry.ts';
export type { ImageOptions } from './library/resolve.ts';
