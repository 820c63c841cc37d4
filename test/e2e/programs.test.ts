import { hash, randomBytes } from 'node:crypto';
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { exportedTree } from '../support/exported-tree.ts';
import { Lab } from '../support/lab.ts';
import { run } from '../support/program.ts';
import { copyProgram } from '../support/small-base.ts';
import { systemTool } from '../support/tools.ts';
import { assertSameTree } from '../support/tree.ts';

/** Programs of the machine that runs the test. */
const programs =
  `apt-get bash cat chmod chown cmp cp dd diff dpkg dpkg-deb dpkg-query dpkg-split find git grep gzip head ldconfig ln
  mkdir mv perl printf rm sed sha256sum sort start-stop-daemon stat tar touch truncate xargs`.split(/\s+/);

const directories =
  `usr/bin usr/share usr/lib/apt/methods etc/apt repository tree/sub tree/gone var/log/apt var/lib/dpkg/info
  var/lib/dpkg/updates var/lib/apt/lists/partial var/cache/apt/archives/partial`.split(/\s+/);

const control = `Package: hello
Version: 1
Architecture: all
Maintainer: Somebody <somebody@localhost>
Description: A package
`;

/** What runs on the lazy base: programs that walk, map, replace, rename and link what lies in lower layers. */
const steps = [
  `find / -xdev -path /proc -prune -o -type f ! -path '/etc/*' ! -path '/results/*' -print0 | sort -z | xargs -0 sha256sum > /results/find`,
  `tar --sort=name --numeric-owner --format=gnu --mtime=@0 -cf - -C / data usr var/lib/dpkg | sha256sum > /results/tar`,
  `cd /tree && git init -q . && git add -A && git -c user.name=n -c user.email=e commit -qm all && git status --porcelain > /results/git && git ls-files -s >> /results/git && rm -r .git`,
  `ldconfig && ldconfig -p | sort > /results/ldconfig && rm -rf /var/cache/ldconfig`,
  `apt-get -q update && apt-get -q install -y hello && dpkg -s hello > /results/apt && cat /usr/share/hello/installed >> /results/apt && rm -r /var/log /var/cache/apt /var/lib/apt/lists`,
  `cp -a /tree /copied && diff -r /tree /copied && mv /data/many /data/renamed && mv /tree/sub /tree/sub2 && mv /data/ballast /tree/moved`,
  `chmod 0700 /tree/a && chown 70000:70001 /tree/b && chown -h 5:6 /tree/link && touch -h -d @5 /tree/link && ln /tree/c /tree/hard && echo more >> /tree/d && echo less > /tree/e`,
  `truncate -s 10 /tree/f && truncate -s 100000 /tree/g && dd if=/dev/zero of=/tree/h bs=1 seek=3000 count=7 conv=notrunc && rm /tree/i && mkdir /tree/i && rm -r /tree/gone && mkdir /tree/gone`,
  `perl -e 'open F, "+<", "/tree/j"; seek F, 5000, 0; print F "written"; close F; rename "/tree/k", "/tree/l" or die; link "/tree/l", "/tree/k" or die; unlink "/tree/l"'`,
  `sed -i s/root/toor/ /etc/group && cmp /copied/sub/deep /tree/sub2/deep`,
];
const dockerfile = `ARG BASE
FROM \${BASE}
SHELL ["/usr/bin/bash", "-euo", "pipefail", "-c"]
ENV LC_ALL=C DEBIAN_FRONTEND=noninteractive GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
RUN mkdir -p /results
${steps.map((step) => `RUN ${step}`).join('\n')}
`;

let lab: Lab;

before(async () => {
  lab = await Lab.open();
  await pushBase();
});
after(() => lab[Symbol.asyncDispose]());

/**
 * The small base, and on it the programs, a tree for them to work on, and a package to install; as BuildKit writes it.
 */
async function pushBase(): Promise<void> {
  const context = await lab.context('programs-base', 'ARG BASE\nFROM ${BASE}\nCOPY root /\n');
  const root = join(context, 'root');
  for (const directory of directories) await mkdir(join(root, directory), { recursive: true });
  for (const program of programs) await copyProgram(systemTool(program), root, join('usr/bin', program));
  for (const method of ['copy', 'file', 'store']) {
    await copyProgram(`/usr/lib/apt/methods/${method}`, root, `usr/lib/apt/methods/${method}`);
  }
  await cp('/usr/share/dpkg', join(root, 'usr/share/dpkg'), { recursive: true });
  await writeFile(join(root, 'var/lib/dpkg/status'), '');
  await writeFile(join(root, 'tree/sub/deep'), randomBytes(3_000_000));
  await symlink('a', join(root, 'tree/link'));
  for (const name of 'abcdefghijk') await writeFile(join(root, 'tree', name), `${name}\n`.repeat(5000));
  await makeRepository(root, await lab.workspace.directory('package'));

  await using builder = await lab.builder('programs-base', 'oci', false);
  const options = 'push=true,compression=estargz,oci-mediatypes=true,force-compression=true';
  await builder.buildkitd.build({
    context,
    buildArgs: { BASE: lab.reference('base:plain') },
    output: `type=image,name=${lab.reference('programs:esgz')},${options}`,
  });
}

/** A repository of one package in /repository, which apt uses. */
async function makeRepository(root: string, directory: string): Promise<void> {
  await mkdir(join(directory, 'DEBIAN'));
  await mkdir(join(directory, 'usr/share/hello'), { recursive: true });
  await writeFile(join(directory, 'usr/share/hello/hello'), 'hello\n');
  await writeFile(join(directory, 'DEBIAN/control'), control);
  const script = '#!/usr/bin/bash\necho installed > /usr/share/hello/installed\n';
  await writeFile(join(directory, 'DEBIAN/postinst'), script, { mode: 0o755 });
  const archive = join(root, 'repository/hello.deb');
  await run('dpkg-deb', ['--build', '--root-owner-group', directory, archive]);
  const bytes = await readFile(archive);
  const fields = `Filename: ./hello.deb\nSize: ${bytes.length}\nSHA256: ${hash('sha256', bytes)}\n`;
  await writeFile(join(root, 'repository/Packages'), control + fields);
  await writeFile(join(root, 'etc/apt/sources.list'), 'deb [trusted=yes] file:/repository ./\n');
}

/** What the build exports on a base that is lazy, or that was pulled. */
async function exported(name: string, lazy: boolean): Promise<string[]> {
  return exportedTree(lab, name, lazy, await lab.context('programs', dockerfile), 'programs:esgz', 3);
}

test('Programs do the same on a lazy base as on one that was pulled', async () => {
  assertSameTree(await exported('programs-lazy', true), await exported('programs-pulled', false));
});
