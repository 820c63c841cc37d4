#!/usr/bin/env node
import { main } from '../cli/main.ts';
import { selfCommand } from '../cli/self.ts';
import { exitWritten } from '../kernel/exit.ts';

await exitWritten(await main(process.argv.slice(2), { env: process.env, name: 'lazypull', self: selfCommand() }));
