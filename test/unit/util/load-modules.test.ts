import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadModules } from '../../../src/util/load-modules.ts';

/** A module with this default export. */
const moduleOf = (text: string): string => `data:text/javascript,${encodeURIComponent(text)}`;

test('loadModules gives what modules export, and refuses one that has nothing, or a name that is taken', async () => {
  const first = moduleOf('export default { name: "first" }');
  assert.deepEqual(await loadModules([], [], 'thing'), []);
  assert.deepEqual(await loadModules([first], [{ name: 'built in' }], 'thing'), [{ name: 'first' }]);
  for (const modules of [[moduleOf('export const name = "first"')], [first, `${first}//`]]) {
    await assert.rejects(loadModules(modules, [], 'thing'), { code: 'InvalidArgument', message: /a new thing/ });
  }
  await assert.rejects(loadModules([first], [{ name: 'first' }], 'thing'), { code: 'InvalidArgument' });
});
