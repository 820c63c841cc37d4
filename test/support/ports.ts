import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** The wanted port of 127.0.0.1 if nothing listens on it, else another free one. */
export async function freePort(wanted?: number): Promise<number> {
  if (wanted !== undefined && !(await accepts({ port: wanted }))) {
    const port = await bound(wanted);
    if (port !== undefined) return port;
  }
  const port = await bound(0);
  if (port === undefined) throw new Error('No free port on 127.0.0.1');
  return port;
}

/** Whether something accepts connections on a port of 127.0.0.1 or on a unix socket. */
export async function accepts(address: { readonly port: number } | { readonly path: string }): Promise<boolean> {
  const socket = connect('path' in address ? { path: address.path } : { port: address.port, host: '127.0.0.1' });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function bound(port: number): Promise<number | undefined> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : undefined;
  } catch {
    return undefined;
  } finally {
    server.close();
  }
}
