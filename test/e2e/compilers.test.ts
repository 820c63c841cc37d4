import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { debianSuite, makeDebian } from '../support/debian.ts';
import { exportedTree } from '../support/exported-tree.ts';
import { Lab } from '../support/lab.ts';
import { run } from '../support/program.ts';
import { gzipLayer, pushImage } from '../support/push-image.ts';
import { repository } from '../support/tools.ts';
import { assertSameTree } from '../support/tree.ts';

const packages = ['gcc', 'libc6-dev', 'python3', 'python3-pip', 'git', 'ca-certificates'];

const dockerfile = `ARG BASE
FROM \${BASE}
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV LC_ALL=C PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_BREAK_SYSTEM_PACKAGES=1
COPY context /context
RUN mkdir /results && gcc -O2 -o /results/hello /context/hello.c && /results/hello > /results/hello.txt
RUN python3 -m pip install --no-index --no-build-isolation --no-compile /context/greeting && rm -rf /context/greeting/build /tmp/*
RUN python3 -c 'import greeting; print(greeting.text())' > /results/greeting.txt && python3 -m pip list > /results/list.txt
RUN python3 -m pip uninstall --yes wheel && rm -rf /usr/share/doc
`;

let lab: Lab;

before(async () => {
  lab = await Lab.open();
  await pushBase();
});
after(() => lab[Symbol.asyncDispose]());

/** A Debian with compilers, made here and converted by lazypull. */
async function pushBase(): Promise<void> {
  const directory = await lab.workspace.directory('debian');
  const tar = join(directory, 'base.tar');
  await makeDebian(await debianSuite(), packages, tar, directory);
  const layer = await gzipLayer(tar, `${tar}.gz`);
  await pushImage(lab.relay.host, 'debian', 'plain', [layer]);
  await rm(directory, { recursive: true });
  const [from, to] = ['plain', 'esgz'].map((tag) => lab.reference(`debian:${tag}`));
  await run(join(repository, 'bin', 'lazypull'), ['convert', from!, to!]);
}

async function makeContext(): Promise<string> {
  const context = await lab.context('compilers', dockerfile);
  const files = {
    'hello.c': '#include <stdio.h>\nint main(void) { puts("hello from C"); return 0; }\n',
    'greeting/setup.py': 'from setuptools import setup\nsetup(name="greeting", version="1", packages=["greeting"])\n',
    'greeting/greeting/__init__.py': 'def text():\n    return "hello from Python"\n',
  };
  for (const [name, text] of Object.entries(files)) {
    const path = join(context, 'context', name);
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, text);
  }
  return context;
}

test('gcc and pip do the same on a lazy Debian as on one that was pulled', async () => {
  const context = await makeContext();
  const lazy = await exportedTree(lab, 'compilers-lazy', true, context, 'debian:esgz', 1);
  assert.ok(lazy.some((line) => line.includes('./usr/local/lib/python3') && line.includes('greeting/__init__.py')));
  assertSameTree(lazy, await exportedTree(lab, 'compilers-pulled', false, context, 'debian:esgz', 1));
});
