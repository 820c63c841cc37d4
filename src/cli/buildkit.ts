import { Command } from 'commander';
import { fileURLToPath } from 'node:url';
import { composeFile } from '../buildkit/compose.ts';
import { runBuildkit } from '../buildkit/run.ts';
import type { Environment } from './main.ts';
import { say } from './output.ts';

/** Where script/setup puts what it builds. */
const tools = fileURLToPath(new URL('../../.cache/bin', import.meta.url));

/** `lazypull buildkit`: what stands behind script/buildkit. */
export function buildkitCommand(environment: Environment): Command {
  const run = new Command('run')
    .description('start lazypull unless it serves, then run buildkitd with the flags given')
    .argument('[flags...]', 'flags of buildkitd')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[]) => {
      await runBuildkit({
        args,
        env: environment.env,
        lazypull: environment.self,
        tools,
        say: (text) => say(environment.name, text),
      });
    });
  const compose = new Command('compose')
    .description('print a compose file for a container to try the integration in')
    .argument('<repository>', 'directory of the checkout on the host')
    .argument('<name>', 'name of the container')
    .action((repository: string, name: string) => {
      process.stdout.write(composeFile(repository, name));
    });
  return new Command('buildkit')
    .description('run BuildKit on top of lazypull')
    .enablePositionalOptions()
    .addCommand(run)
    .addCommand(compose);
}
