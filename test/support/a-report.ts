import { nothingFetched } from '../../src/layers/uses/layer-use.ts';
import { stripOf } from '../../src/layers/uses/read-strip.ts';
import { makeReport, type Report } from '../../src/status/report.ts';
import { aUse } from './layer-use.ts';

/** A name that a hostile client gives: marks of HTML, commands for a terminal, and a mark that turns text around. */
export const hostileText = `"><script>alert(1)</script>'&\u001b]0;x\u0007\u202e`;

/** A report with everything in it: reads at all times, layers that were pulled, whole, found and refused, bad names. */
export function aReport(): Report {
  const startedMs = Date.UTC(2026, 10, 30, 20, 11, 5);
  const length = 400;
  const size = new Float64Array(length).fill(250_000);
  const strip = (part: number, seed: number) => {
    const isRead = (i: number) => Math.sin(i * 0.31 + seed) + Math.sin(i * 0.073 * seed) > 2 - 4 * part;
    const read = Uint8Array.from(size, (_, i) => (isRead(i) ? 1 + ((i * (7 + seed)) % 170) : 0));
    const resident = Uint8Array.from(size, (_, i) => (isRead(i) || Math.sin(i / 9 + seed) > 0.3 ? 1 : 0));
    return stripOf({ length, size }, read, resident);
  };
  const lazy = (hex: string, part: number, seed: number) =>
    aUse({
      digest: `sha256:${hex.repeat(32)}`,
      startedMs: startedMs + seed * 100,
      blobBytes: 39_300_000 * seed,
      contentBytes: 100_000_000,
      presentBytes: 60_000_000,
      fetched: { ...nothingFetched, demand: 3_100_000 * seed, prefetch: 1_200_000, background: 900_000 },
      ...strip(part, seed),
    });
  const failed = 'The registry did not answer in time: get "https://registry.example/v2/app/blobs/sha256:d4": timeout';
  return makeReport(
    {
      sinceMs: startedMs - 86_400_000,
      uses: [
        lazy('a1', 0.2, 1),
        lazy('b2', 0.6, 5),
        lazy('c3', 0.05, 3),
        aUse({ digest: `sha256:${'e5'.repeat(32)}`, startedMs, strip: undefined, readBytes: 0, waits: 0 }),
        aUse({
          digest: `sha256:${'f6'.repeat(32)}`,
          startedMs,
          how: 'pull',
          howText: 'pulled in 4.2 s, which made its index',
          fetched: { ...nothingFetched, pull: 40_000 },
          isWhole: true,
        }),
        aUse({
          startedMs: startedMs - 7_200_000,
          endedMs: startedMs - 3_600_000,
          how: 'kept',
          isLeft: true,
          errors: 2,
        }),
        aUse({ references: [hostileText], startedMs: startedMs - 10_000_000, howText: hostileText }),
        aUse({
          references: [`registry.example/${'a-very-long-name/'.repeat(12)}app:1`],
          startedMs: startedMs - 20_000_000,
          endedMs: startedMs,
        }),
      ],
    },
    [
      {
        reference: 'registry.example/app:1',
        digest: `sha256:${'d4'.repeat(32)}`,
        atMs: startedMs,
        reason: 'registry',
        message: failed,
      },
      { reference: hostileText, digest: hostileText, atMs: startedMs - 1e7, reason: 'other', message: hostileText },
    ],
    10,
  );
}
