import type { Program } from '../test/support/program.ts';

/** A running remote snapshotter. */
export interface Snapshotter extends AsyncDisposable {
  readonly socket: string;
  readonly program: Program;
}
