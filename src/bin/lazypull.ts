#!/usr/bin/env node
/**
 * The mains: one for `lazypull`, one for `containerd-stargz-grpc`, whose flags the daemon takes too. Begin with
 * `cli/main.ts`.
 */

import { main } from '../cli/main.ts';
import { selfCommand } from '../cli/self.ts';
import { exitWritten } from '../kernel/exit.ts';

await exitWritten(await main(process.argv.slice(2), { env: process.env, name: 'lazypull', self: selfCommand() }));
