import { readSync, writeSync } from 'node:fs';
import { initReply, readInit, readRequestHeader, requestBytes } from '../../src/fuse/abi.ts';
import { type FuseConnection, openConnection } from '../../src/fuse/connection.ts';

/**
 * Mounts a FUSE file system that answers nothing: a program that looks at a file of it waits until the connection is
 * aborted.
 */
export async function mountSilentFuse(): Promise<FuseConnection> {
  const connection = await openConnection();
  const request = Buffer.alloc(requestBytes);
  readSync(connection.fd, request);
  writeSync(connection.fd, initReply(readRequestHeader(request).unique, readInit(request)));
  return connection;
}
