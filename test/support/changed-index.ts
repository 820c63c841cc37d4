import { hash } from 'node:crypto';
import { magic, readTail, tailStart, writeTail } from '../../src/formats/layer-index-file/footer.ts';
import { NumberReader, NumberWriter } from '../../src/formats/layer-index-file/numbers.ts';

/** What a layer index says of a span: how far behind the one before it is, in the blob and in the tar. */
export interface RawSpan {
  blobStep: number;
  outputStep: number;
  head: number;
  windowBytes: number;
  /** As it is stored. */
  window: Buffer | undefined;
}

/** What a layer index of gzip says. `rest` begins with the chunks. */
export interface RawIndex {
  readonly spans: RawSpan[];
  rest: Buffer;
}

/** A layer index that says something else, with digests of its own that are right. */
export function changedIndex(file: Buffer, change: (index: RawIndex) => void): Buffer {
  const end = file.subarray(tailStart(file.length, file));
  const reader = new NumberReader(readTail(file.length, end).tail);
  const head = [reader.byte(), reader.bytes(32)] as const;
  const sizes = Array.from({ length: 3 }, () => reader.number('size'));
  const [spanCount = 0, ...counts] = Array.from({ length: 3 }, () => reader.number('count'));
  let at = magic.length;
  const spans = Array.from({ length: spanCount }, (): RawSpan => {
    const [blobStep, outputStep] = [reader.number('blob'), reader.number('output')];
    const [kind, windowBytes] = [reader.byte(), reader.number('window')];
    const window = windowBytes === 0 ? undefined : file.subarray(at, (at += windowBytes));
    return { blobStep, outputStep, head: kind, windowBytes, window };
  });
  for (const { window } of spans) if (window !== undefined) reader.bytes(32);
  const index: RawIndex = { spans, rest: Buffer.from(reader.bytes(reader.left)) };
  change(index);

  const writer = new NumberWriter();
  writer.byte(head[0]);
  writer.bytes(head[1]);
  for (const number of [...sizes, spans.length, ...counts]) writer.number(number);
  for (const span of spans) {
    writer.number(span.blobStep);
    writer.number(span.outputStep);
    writer.byte(span.head);
    writer.number(span.windowBytes);
  }
  const windows = spans.flatMap(({ window }) => window ?? []);
  for (const window of windows) writer.bytes(hash('sha256', window, 'buffer'));
  writer.bytes(index.rest);
  const start = Buffer.concat([magic, ...windows]);
  return Buffer.concat([start, writeTail(writer.finish(), start.length)]);
}
