import fc from 'fast-check';
import { opcodes } from '../../../src/fuse/abi.ts';
import { FuseReader, fuseRequest } from '../../support/fuse-reader.ts';
import { scratchDirectory } from '../scratch.ts';
import type { Subject } from '../subject.ts';

const maxRequestBytes = 8192;
let reader: FuseReader | undefined;

const requests: Subject = {
  name: 'FUSE requests',
  weight: 30,
  inputs: fc
    .tuple(
      fc.constantFrom(...Object.values(opcodes), 99),
      fc.constantFrom(0, 1, FuseReader.nodeId, 8),
      fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constant(Buffer.from('file\0'))),
    )
    .map(([opcode, node, body]) => fuseRequest(opcode, node, body)),
  tokens: ['\xff\xff\xff\xff\xff\xff\xff\xff', '\x00\x10\0\0', '\0', 'file\0', '\x0f\0\0\0', '\x1a\0\0\0'],
  run(input, random) {
    reader ??= new FuseReader(scratchDirectory());
    const request = input.subarray(0, maxRequestBytes);
    if (request.length >= 4 && random.below(4) > 0) request.writeUInt32LE(request.length, 0);
    reader.ask(request);
  },
  async close() {
    await reader?.close();
  },
};

export const fuse: readonly Subject[] = [requests];
