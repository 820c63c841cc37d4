import { archives } from './subjects/archives.ts';
import { client } from './subjects/client.ts';
import { configuration } from './subjects/configuration.ts';
import { fuse } from './subjects/fuse.ts';
import { http } from './subjects/http.ts';
import { images } from './subjects/images.ts';
import { indexes } from './subjects/indexes.ts';
import { layerIndex } from './subjects/layer-index.ts';
import { mirror } from './subjects/mirror.ts';
import { tables } from './subjects/tables.ts';
import type { Subject } from './subject.ts';

/** Everything that reads what comes from a registry, a client, a file or the kernel. */
export const subjects: readonly Subject[] = [
  ...http,
  ...mirror,
  ...client,
  ...configuration,
  ...images,
  ...archives,
  ...layerIndex,
  ...indexes,
  ...tables,
  ...fuse,
];
