import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../support/program.ts';
import { builtTool, repository } from '../support/tools.ts';

const rules = join(repository, 'share', 'prometheus');

test('promtool takes the alert rules', async () => {
  await run(builtTool('promtool'), ['check', 'rules', '--lint-fatal', join(rules, 'lazypull.rules.yml')]);
});

test('promtool sees each alert fire, and none if all is well', async () => {
  await run(builtTool('promtool'), ['test', 'rules', join(rules, 'lazypull.test.yml')]);
});
