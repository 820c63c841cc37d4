import { access, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { clearLeft, WorkDirectory } from '../state/work-directory.ts';
import { erofs as front } from '../fronts/erofs/front.ts';
import { treeName } from '../fronts/front.ts';
import { LazypullError } from '../errors.ts';
import { ChunkColumns } from '../formats/chunk-columns.ts';
import { plainEntry } from '../formats/layer-index.ts';
import { buildTree } from '../formats/tree.ts';
import { openConnection } from '../fuse/connection.ts';
import { FuseServer } from '../fuse/fuse-server.ts';
import { pathOf } from '../kernel/detached-mount.ts';
import { detach, mountImage, mountOverlay } from '../kernel/mount.ts';
import { silentLog } from '../log.ts';
import { type CheckResult, tryOut } from './check-result.ts';
import { makeDirectory } from '../kernel/make-directory.ts';

/** The content of the only file of the synthetic layer. */
const content = Buffer.from('lazypull');
const fileName = 'file';

/**
 * Mounts what a daemon mounts, in a new directory below `parent`, and unmounts it again: a FUSE file system, an EROFS
 * image on a disk and one on FUSE, an overlay on that, and an overlay on the overlay.
 */
export async function checkMounts(parent: string): Promise<CheckResult[]> {
  await using parts = new AsyncDisposableStack();
  // Killed checks leave something beside ours, and killed `lazypull mount` commands in their directory for temporary
  // files.
  for (const place of new Set([parent, tmpdir()])) await clearLeft(place, undefined, silentLog);
  const { path: work } = parts.use(await WorkDirectory.make(parent, 'lazypull-check-'));
  const directory = async (name: string): Promise<string> => {
    makeDirectory(join(work, name));
    return join(work, name);
  };
  const image = join(work, 'image');
  const bytes = await writeImage(image);

  const erofs = await tryOut('EROFS', fileSystemAdvice('erofs'), async () => {
    const target = await directory('erofs');
    await mountImage(front.fileSystem.type, image, target);
    await readBack(join(target, treeName));
    await detach(target);
    return 'an image on the disk can be mounted';
  });

  let files = '';
  let server: FuseServer | undefined;
  const fuse = await tryOut('FUSE', fileSystemAdvice('fuse'), async () => {
    const connection = await openConnection();
    files = pathOf(connection.root);
    const lookUp = (name: string): Promise<void> => access(join(files, name));
    server = parts.adopt(
      new FuseServer(connection, () => Promise.reject(new Error('There is no such file')), lookUp, silentLog),
      async (each) => void (await each.close()),
    );
    return 'can be mounted and served';
  });
  const results = [erofs, fuse];
  if (server === undefined || erofs.state !== 'right') return [...results, notTried(stackName), notTried(overlayName)];

  const empty = (): SharedArrayBuffer => new SharedArrayBuffer(0);
  server.add(
    {
      nodeId: 2,
      name: 'layer',
      bytes,
      path: image,
      rangeOffset: new Float64Array(empty()),
      rangeBytes: new Float64Array(empty()),
      resident: new Uint8Array(empty()),
      readFromMs: 0,
      read: new Uint8Array(empty()),
    },
    () => Promise.reject(new Error('Nothing is missing')),
  );
  const layer = await directory('layer');
  const stacked = await tryOut(stackName, stackAdvice, async () => {
    await mountImage(front.fileSystem.type, join(files, 'layer'), layer);
    await readBack(join(layer, treeName));
    const [device] = (await readFile('/proc/self/mounts', 'utf8'))
      .split('\n')
      .filter((line) => line.includes(` ${layer} `));
    return device?.startsWith('/dev/loop')
      ? 'works through loop devices; Linux 6.12 and later need none'
      : 'works, without loop devices';
  });
  results.push(stacked);
  if (stacked.state !== 'right') return [...results, notTried(overlayName)];

  results.push(
    await tryOut(overlayName, overlayAdvice, async () => {
      const merged = await directory('merged');
      const upper = { upper: await directory('upper'), work: await directory('work') };
      await mountOverlay([join(layer, treeName)], merged, upper);
      await readBack(merged);
      const nested = await directory('nested');
      await mountOverlay([merged, await directory('none')], nested);
      await readBack(nested);
      await detach(nested);
      await writeFile(join(merged, 'new'), content);
      await rm(join(merged, fileName));
      const names = await readdir(merged);
      await detach(merged);
      if (names.join() === 'new') return 'works, twice on top of each other, and deletes what is below';
      throw new LazypullError(
        'FailedPrecondition',
        `A deleted file is still listed: "${parent}" is on a file system without d_type`,
      );
    }),
  );
  return results;
}

const stackName = 'EROFS on FUSE';
const overlayName = 'overlayfs on EROFS';

const stackAdvice =
  'use Linux 6.12 or later, or give the container loop devices ("modprobe loop", and --privileged or --device /dev/loop-control)';
const overlayAdvice =
  'load it with "modprobe overlay", and choose a --root on ext4, or on XFS made with "mkfs.xfs -n ftype=1", not on overlayfs or NFS';

function fileSystemAdvice(name: string): string {
  return `load it with "modprobe ${name}", or use a kernel that has it; in a container it takes --privileged`;
}

function notTried(name: string): CheckResult {
  return { name, state: 'wrong', text: 'not tried: it needs what is wrong above', advice: '' };
}

/** Writes an EROFS image with one file. @returns its length in bytes */
async function writeImage(path: string): Promise<number> {
  const file = { ...plainEntry, path: fileName, size: content.length, chunkCount: 1 };
  const chunks = new ChunkColumns();
  chunks.add(0, 0, content.length);
  const plan = front.plan(buildTree({ entries: [file], chunks }), { digest: `sha256:${'0'.repeat(64)}` });
  await using disk = await open(path, 'w');
  await disk.write(plan.metadata, 0, plan.metadata.length, 0);
  await disk.write(content, 0, content.length, plan.chunks.diskOffset[0]!);
  await disk.truncate(plan.diskBytes);
  return plan.diskBytes;
}

async function readBack(directory: string): Promise<void> {
  if (content.equals(await readFile(join(directory, fileName)))) return;
  throw new LazypullError('DataLoss', `What is read from "${directory}" is not what was written`);
}
