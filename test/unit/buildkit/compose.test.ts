import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { composeFile } from '../../../src/buildkit/compose.ts';

describe('composeFile', () => {
  const lines = composeFile('/home/me/lazypull', 'buildkit-integration').split('\n');

  it('names the container as given and the service with underscores', () => {
    assert.ok(lines.includes('  buildkit_integration:'));
    assert.ok(lines.includes('    container_name: "buildkit-integration"'));
  });

  it('builds from the checkout and takes the proxies', () => {
    const build = lines.slice(lines.indexOf('    build:') + 1, lines.indexOf('    privileged: true'));
    assert.deepEqual(build, [
      '      context: "/home/me/lazypull"',
      '      dockerfile: script/buildkit/Dockerfile',
      '      args:',
      '        - HTTP_PROXY',
      '        - HTTPS_PROXY',
      '        - http_proxy',
      '        - https_proxy',
    ]);
  });

  it('mounts the checkout, but not over what the image has built', () => {
    assert.ok(lines.includes('        source: "/home/me/lazypull"'));
    assert.ok(lines.includes('      - node-modules:/lazypull/node_modules'));
  });

  it('declares every volume that it mounts', () => {
    const mounted = lines.flatMap((line) => /^ {6}- ([a-z-]+):\//.exec(line)?.[1] ?? []);
    const declared = lines.slice(lines.lastIndexOf('volumes:') + 1).filter((line) => line !== '');
    assert.deepEqual(
      declared,
      mounted.map((name) => `  ${name}:`),
    );
  });

  it('quotes a path for YAML and for the variables of compose', () => {
    assert.match(composeFile('/a "b" $HOME', 'x'), /context: "\/a \\"b\\" \$\$HOME"\n/);
  });

  it('refuses a relative directory and an impossible name', () => {
    assert.throws(() => composeFile('.', 'x'), /absolute/);
    assert.throws(() => composeFile('/a', 'a b'), /service name "a b"/);
    assert.throws(() => composeFile('/a', 'a:\n  privileged'), /service name/);
  });
});
