/** What is done to the daemon and to what it works with. */
export type Disturbance =
  | 'kill'
  | 'takeover'
  | 'stop'
  | 'keeper'
  | 'abort'
  | 'unmount'
  | 'buildkitd'
  | 'faults'
  | 'down'
  | 'slow';

/** What was read or made is not what it should be: nothing excuses that. */
export class WrongBytes extends Error {}

/** How a client says that its call was lost, or that it could not connect in time. */
const lostCall =
  /connection refused|while dialing|EOF|RST_STREAM|transport|unavailable|connection error|connection reset|broken pipe|ECONN|connection dropped|did not answer in|error reading from server|no such file or directory.*\.sock/i;

/**
 * What BuildKit says when the call that it lost was a look at a lazy snapshot: it forgets what it needs to unpack the
 * layer itself (moby/buildkit#3388).
 */
const forgotten = /missing descriptor handlers/i;

/**
 * What a client says that mounts a layer in the milliseconds in which it is not mounted; overlayfs finds an argument
 * invalid that is unmounted while it looks at it. What finds no file in a layer says something else.
 */
const unmounted = /(mount|\/snapshots\/\d+\/fs)[^\n]*(no such file or directory|invalid argument)/i;

/** What BuildKit's overlay differ says of any error, that of such a mount too, if it may not take another differ. */
const notDetected = /overlay mounts not detected/;

/** Whether reads may end in EIO beside these disturbances. */
export function mayFailReads(disturbances: ReadonlySet<Disturbance>): boolean {
  return (['stop', 'keeper', 'abort', 'faults', 'down'] as const).some((each) => disturbances.has(each));
}

/**
 * Whether an operation may fail with an error beside these disturbances. Wrong bytes never; without a disturbance, or
 * with nothing but slow answers, nothing. A daemon that is killed or replaced may lose calls, but no reader gets an
 * error; nor does one whose layer is unmounted, unless it mounts the layer at that moment.
 */
export function isExcused(error: unknown, disturbances: ReadonlySet<Disturbance>): boolean {
  if (error instanceof WrongBytes) return false;
  if (mayFailReads(disturbances) || disturbances.has('buildkitd')) return true;
  if (disturbances.has('unmount') && (unmounted.test(String(error)) || notDetected.test(String(error)))) return true;
  const isStruck = disturbances.has('kill') || disturbances.has('takeover');
  const text = String(error);
  return isStruck && (lostCall.test(text) || forgotten.test(text)) && !/EIO|input\/output|I\/O error/i.test(text);
}

/** Whether a client that has lost its daemon before may still say so: it connects again after a pause. */
export function isLostCall(error: unknown): boolean {
  return !(error instanceof WrongBytes) && lostCall.test(String(error));
}

/** Whether a layer was left to its client, as those are of a registry that has just failed. */
export function isLeftToClient(error: unknown): boolean {
  return !(error instanceof WrongBytes) && /is not lazy: the daemon's log says why/.test(String(error));
}
