import { build, makeContext } from './context.ts';
import type { Scenario, Work } from './work.ts';

const compiled: Work = { id: 'b', title: '`RUN g++` of a small C++ file' };

const dockerfile = `ARG BASE
FROM \${BASE}
COPY hello.cpp /src/hello.cpp
RUN g++ -O2 -o /usr/local/bin/hello /src/hello.cpp && hello
`;
const program = `#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>

int main() {
  std::vector<std::string> words{"world", "hello"};
  std::sort(words.begin(), words.end());
  std::map<std::string, int> lengths;
  for (const auto &word : words) lengths[word] = word.size();
  for (const auto &[word, length] : lengths) std::cout << word << length;
  std::cout << std::endl;
}
`;

/** The build context of such a build. */
export const compileFiles = { Dockerfile: dockerfile, 'hello.cpp': program };

/** A build that needs a compiler, headers and libraries of its base. */
export const compile: Scenario = {
  works: [compiled],
  onBuildkit: true,
  overLink: true,
  subjects: ['full', 'lazypull', 'lazypull-trace', 'lazypull-warm', 'stargz'],
  setOf: ({ base }) => base,
  async run(cell) {
    const context = await makeContext(cell, compileFiles);
    await cell.measure(compiled, () => build(cell, context, cell.set.images[0], { expected: 'hello5world5' }));
  },
};
