/**
 * What a daemon is that is killed in the middle of mount(2): it has the lock of the root and a keeper, it has read a
 * request of its own FUSE file system that one of its threads waits for, and it will never answer it.
 */
import { readSync, stat } from 'node:fs';
import { join } from 'node:path';
import { Keeper } from '../../src/daemon/keeper.ts';
import { openRoot } from '../../src/state/root.ts';
import { requestBytes } from '../../src/fuse/abi.ts';
import { pathOf } from '../../src/kernel/detached-mount.ts';
import { silentLog } from '../../src/log.ts';
import { mountSilentFuse } from './silent-fuse.ts';

const directory = process.argv[2]!;
await openRoot(directory);
const connection = await mountSilentFuse();
const keeper = await Keeper.open(directory, silentLog);
await keeper.keep({ fuse: connection, sockets: [] });
stat(join(pathOf(connection.root), 'layer'), () => undefined);
readSync(connection.fd, Buffer.alloc(requestBytes));
process.stdout.write('stuck\n');
setInterval(() => undefined, 1000);
