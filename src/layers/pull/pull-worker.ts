/** A thread that makes layers of tars from another thread, one layer after another. */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { codeOf, type ErrorCode, hintOf, messageOf } from '../../errors.ts';
import { Fronts } from '../../fronts/index.ts';
import { trimMemory } from '../../kernel/memory.ts';
import { BufferPressure } from '../../util/buffer-pressure.ts';
import type { EndCommand, RestCommand } from '../../util/end-worker.ts';
import { checkNotCancelled, receiveTar } from './tar-link.ts';
import { type Pulled, pullInto, type PullTarget } from './pull-into.ts';

export type PullCommand =
  | EndCommand
  | RestCommand
  /** `cancelled` becomes 1 if the job must end at once. The tar comes through `link`. */
  | {
      kind: 'pull';
      job: number;
      target: PullTarget;
      cancelled: Int32Array;
      link: MessagePort;
      memory: Uint8Array;
    };

export type PullAnswer =
  | { job: number; pulled: Pulled }
  | { job: number; error: { code: ErrorCode; message: string; hint: string | undefined } };

/** What a thread is started with. */
export interface PullWorkerData {
  /** `Fronts.modules`. */
  readonly fronts: readonly string[];
}

const port = parentPort;
if (port === null) throw new Error('Cannot run outside a worker thread');

const { chosen: front } = await Fronts.load((workerData as PullWorkerData).fronts);

port.on('message', (command: PullCommand) => {
  if (command.kind === 'end') port.close();
  else if (command.kind === 'rest') {
    new BufferPressure().rest(true);
    void trimMemory();
  } else void pull(command);
});

async function pull({ job, target, cancelled, link, memory }: PullCommand & { kind: 'pull' }): Promise<void> {
  const check = (): void => checkNotCancelled(cancelled);
  try {
    answer({ job, pulled: await pullInto(target, { open: receiveTar(link, memory), check, front }) });
  } catch (error) {
    answer({ job, error: { code: codeOf(error), message: messageOf(error), hint: hintOf(error) } });
  } finally {
    link.close();
  }
}

function answer(message: PullAnswer): void {
  port!.postMessage(message);
}
