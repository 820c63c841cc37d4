import type { FileConfig } from '../config/schema.ts';
import { absent, type CheckResult, right } from './check-result.ts';

/** Whether programs can read files of lazy images past the page cache. */
export function checkDirectIo(file: FileConfig | undefined): CheckResult {
  const name = 'O_DIRECT';
  if (file?.snapshotter.direct_io === true) {
    return right(name, 'files of lazy images can be read past the page cache: each layer has a loop device');
  }
  return absent(
    name,
    'files of lazy images cannot be read past the page cache: EROFS can that on block devices only, and open(2) with O_DIRECT fails with EINVAL ("dd iflag=direct", "fio --direct=1")',
    'if programs need that, set direct_io = true in [snapshotter] of the config file, which gives each layer a loop device',
  );
}
