import type { Front } from '../front.ts';
import { maxMetadataBytes } from './layout.ts';
import { planDisk } from './plan.ts';
import { blockBytes } from './superblock.ts';

/** An EROFS image, which Linux 6.12 and later mount from the file itself, and older versions through a loop device. */
export const erofs: Front = {
  name: 'erofs',
  fileSystem: { type: 'erofs', isOnDevice: false },
  blockBytes,
  maxMetadataBytes,
  plan: planDisk,
};
