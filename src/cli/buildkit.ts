import { composeFile } from '../buildkit/compose.ts';
import { runBuildkit } from '../buildkit/run.ts';
import type { Environment } from './environment.ts';
import { printText, say } from './output.ts';
import { tools } from './tools.ts';
import { checkUsage } from './usage-error.ts';
import { CliCommand } from './command.ts';

/** `lazypull buildkit`: the command behind script/buildkit. */
export function buildkitCommand(environment: Environment): CliCommand {
  const run = new CliCommand('run')
    .description('Start lazypull unless it runs, then run buildkitd with the given flags')
    .argument('[flags...]', 'flags of buildkitd')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .explain(
      'It has no help of its own: --help is that of buildkitd. What it starts keeps running when buildkitd ends. "lazypull stop" ends the daemon.',
      ['lazypull buildkit run --oci-worker-snapshotter=stargz'],
    )
    .action(async (args: string[]) => {
      await runBuildkit({
        args,
        env: environment.env,
        lazypull: environment.self,
        tools,
        say: (text) => say(environment.name, text),
      });
    });
  const compose = new CliCommand('compose')
    .description('Print a compose file for a container to try the integration in')
    .argument('<repository>', 'directory of the checkout on the host')
    .argument('<name>', 'name of the container')
    .explain('', ['lazypull buildkit compose "$PWD" buildkit-integration > compose.yml'])
    .action((repository: string, name: string) => {
      printText(checkUsage(() => composeFile(repository, name)));
    });
  return new CliCommand('buildkit')
    .description('Run BuildKit on top of lazypull')
    .enablePositionalOptions()
    .addCommand(run)
    .addCommand(compose);
}
