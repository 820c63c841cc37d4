/** One build as it was measured. */
export interface Measurement {
  readonly title: string;
  readonly seconds: number;
  readonly requests: number;
  readonly bytes: number;
  /** How many of the requests were lazypull's own. */
  readonly lazypullRequests: number;
}

const headings = ['', 'seconds', 'requests', 'by lazypull', 'fetched', 'of the image'];

/** The measurements as aligned lines of text; `imageBytes` is what "of the image" refers to. */
export function formatTable(measurements: readonly Measurement[], imageBytes: number): string {
  const rows = measurements.map(({ title, seconds, requests, lazypullRequests, bytes }) => [
    title,
    seconds.toFixed(1),
    String(requests),
    String(lazypullRequests),
    megabytes(bytes),
    `${((100 * bytes) / imageBytes).toFixed(1)} %`,
  ]);
  const all = [headings, ...rows];
  const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))),
    )
    .map((cells) => cells.join('   ').trimEnd())
    .join('\n');
}

/** Bytes as decimal megabytes with one digit. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
