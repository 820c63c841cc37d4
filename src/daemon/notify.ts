import { messageOf } from '../errors.ts';
import { sendDatagram } from '../kernel/unix-socket.ts';
import { type Log } from '../log.ts';

/**
 * Tells the service manager our state as sd_notify(3) does. Does nothing where `socket` (the value of NOTIFY_SOCKET) is
 * absent; a failure is logged and nothing else.
 *
 * @param state assignments such as "READY=1", one a line
 */
export async function notifyManager(socket: string | undefined, state: string, log: Log): Promise<void> {
  if (socket === undefined || socket === '') return;
  try {
    await sendDatagram(socket, state);
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'Cannot notify the service manager');
  }
}
