import { describeLink, parseLink } from '../link.ts';
import type { Results } from '../results.ts';
import type { SubjectId } from '../subjects.ts';
import { formatSeconds, median } from './statistics.ts';
import { type Figure, ratio, type Row, summarize } from './summary.ts';

/** A machine that is busier than that before a measurement makes the seconds doubtful. */
const busy = 0.1;
/** The subject that is compared with the others. */
const ours: SubjectId = 'lazypull';

/** The results as a section of Markdown; `picture` is where the picture lies. */
export function formatMarkdown(results: Results, picture: string): string {
  const rows = summarize(results);
  return `${[
    introduction(results),
    `![The seconds of the table](${picture})`,
    secondsTable(results, rows),
    'What went over the link, as requests / connections / MB:',
    trafficTable(results, rows),
    ...notes(results),
  ].join('\n\n')}\n`;
}

function introduction({ date, machine, image, runs, subjects, backgroundFill }: Results): string {
  const gigabytes = (machine.memoryBytes / 2 ** 30).toFixed(0);
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  return [
    `Measured on ${date.slice(0, 10)}: ${runs === 1 ? 'one run' : `medians of ${runs} runs`}, all subjects in turn.`,
    `${machine.processor}, ${machine.cores} cores, ${gigabytes} GiB, ${machine.kernel}, ${machine.system}, ${machine.fileSystem}.`,
    `${versions.join('; ')}.`,
    `The base image has ${(image.bytes / 1e6).toFixed(0)} MB, compressed, in ${count(image.layers, 'layer')}.`,
    `Filling in the background is ${backgroundFill ? 'on, as it is by default' : 'off'}.`,
    `${subjects.map(({ title, explanation }) => `*${title}*: ${explanation}`).join('; ')}.`,
  ].join('\n');
}

function secondsTable({ subjects, works }: Results, rows: readonly Row[]): string {
  const others = subjects.filter(({ id }) => (id === 'full' || id === 'stargz') && hasOurs(subjects));
  const head = ['Seconds', 'link', ...subjects.map(({ title }) => title)];
  const ratios = others.map(({ title }) => `lazypull : ${title}`);
  const body = rows.map((row) => [
    titleOf(row, works),
    row.link,
    ...subjects.map(({ id }) => seconds(row.figures[id])),
    ...others.map(({ id }) => bold(ratio(row, ours, id)?.toFixed(2))),
  ]);
  return table([...head, ...ratios], body);
}

function trafficTable({ subjects, works }: Results, rows: readonly Row[]): string {
  const body = rows
    .filter(({ link }) => link !== 'none')
    .map((row) => [titleOf(row, works), row.link, ...subjects.map(({ id }) => traffic(row.figures[id]))]);
  return table(['Traffic', 'link', ...subjects.map(({ title }) => title)], body);
}

function notes({ links, measurements, failures, complete }: Results): string[] {
  const found = links.map(
    ({ name, measuredRoundTripMs, measuredMegabitsPerSecond }) =>
      `${describeLink(parseLink(name))}: ${measuredRoundTripMs.toFixed(1)} ms, ${measuredMegabitsPerSecond.toFixed(0)} Mbit/s`,
  );
  const all = [
    `The links, as a client of the relay finds them (a request on an open connection, a download) - ${found.join('; ')}. The relay has no packet loss and no slow start.`,
  ];
  const busyBefore = median(measurements.map((measurement) => measurement.busyBefore));
  if (busyBefore > busy)
    all.push(
      `**The machine was busy with other things**: ${(busyBefore * 100).toFixed(0)} % of its processors, before a typical measurement. The seconds are doubtful.`,
    );
  if (!complete) all.push('**The benchmark was ended before it was complete.**');
  if (failures.length > 0) {
    const lines = failures.map(
      ({ works, link, subject, run, reason }) =>
        `- ${works.join('+')}, ${link}, ${subject}, run ${run}: ${reason.split('\n')[0]}`,
    );
    all.push(`**${count(failures.length, 'measurement')} failed:**\n\n${lines.join('\n')}`);
  }
  return all;
}

function titleOf({ work, title }: Row, works: Results['works']): string {
  return works.some(({ id }) => id === work) ? `(${work}) ${title}` : title;
}

function seconds(figure: Figure | undefined): string {
  return figure === undefined ? '' : formatSeconds(figure.seconds);
}

function traffic(figure: Figure | undefined): string {
  return figure === undefined ? '' : `${figure.requests} / ${figure.connections} / ${(figure.bytes / 1e6).toFixed(1)}`;
}

function bold(text: string | undefined): string {
  return text === undefined ? '' : `**${text}**`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function hasOurs(subjects: Results['subjects']): boolean {
  return subjects.some(({ id }) => id === ours);
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const align = head.map((_, column) => (column < 2 ? '---' : '---:'));
  return [head, align, ...body]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
}
