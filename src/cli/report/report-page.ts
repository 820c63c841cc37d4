import { fetchedBytesOf } from '../../layers/uses/layer-use.ts';
import { fetchReasons } from '../../layers/metrics.ts';
import { type Report, type ReportedImage, type ReportedLayer, savedBytesOf } from '../../status/report.ts';
import { printable } from '../../util/printable.ts';
import { shorten, sizeText } from '../value-text.ts';
import { style } from './report-style.ts';
import { fetchedText, howWord, noteOf, timeText, waitedText, waitText } from './report-words.ts';
import { readTimes, stripPicture } from './strip-picture.ts';

/**
 * A report as one HTML page that needs nothing else: no scripts, no network. Names of images come from clients and
 * registries: they are text, whatever is in them.
 */
export function reportPage(report: Report, host: string, nowMs: number): string {
  const { images, sinceMs, totals, more } = report;
  const refused = images.filter((image) => image.totals.refused > 0).length;
  const facts = [
    ['Uses of images', `${images.length}${more > 0 ? ` of ${images.length + more}` : ''}`],
    ['Not lazy in part', String(refused)],
    ['Fetched', sizeText(totals.fetchedBytes)],
    ['A pull fetches', sizeText(totals.blobBytes)],
    ['Saved', sizeText(Math.max(0, totals.savedBytes))],
    ['Readers waited', waitText(totals.waitedMs)],
  ] as const;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>lazypull on ${escaped(host)}</title>
<style>${style}</style>
</head>
<body>
<main>
<header>
<h1>What builds did on ${escaped(host)}</h1>
<p>Counted since <time>${timeText(sinceMs)}</time>, written at <time>${timeText(nowMs)}</time>.</p>
<dl class="facts">${facts.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join('')}</dl>
</header>
${legend()}
${images.length === 0 ? '<p>No client asked for a layer.</p>' : images.map(imageSection).join('\n')}
${footer}
</main>
</body>
</html>
`;
}

const footer = `<footer><p>Sizes of layers and of what was fetched are those of the compressed layer; what was read is counted in whole chunks
of the files. Several readers that wait at one time count once. Only the first read of each part shows: the kernel keeps
what it has read.</p></footer>`;

function legend(): string {
  const read = readTimes.map(({ name }, i) => `<li><span class="key t${i}"></span>${name}</li>`).join('');
  return `<section class="legend" aria-label="Legend"><p>A strip is a layer, from its first byte to its last. Bars are what was read; their height is how much of that part,
their colour when it was first read, counted from the mount:</p><ul>${read}<li><span class="key here"></span>fetched, not read</li><li><span class="key none"></span>not fetched</li></ul></section>`;
}

function imageSection(image: ReportedImage, i: number): string {
  const { reference, startedMs, endedMs, layers, totals } = image;
  const name = reference === '' ? 'An image without a name' : escaped(reference);
  const end = endedMs === undefined ? 'in use' : `until <time>${timeText(endedMs)}</time>`;
  const problems = [
    ...(totals.refused > 0 ? [`${totals.refused} of ${totals.layers} layers were not lazy`] : []),
    ...(totals.errors > 0 ? [`${totals.errors} reads failed`] : []),
  ];
  return `<section class="image" aria-labelledby="image-${i}">
<h2 id="image-${i}">${name}</h2>
<p><time>${timeText(startedMs)}</time>, ${end}. It ${fetchedText(totals)}; ${waitedText(totals)}.</p>
${problems.length === 0 ? '' : `<p class="problem"><strong>${problems.join('; ')}.</strong></p>`}
<div class="scroll" role="region" aria-labelledby="image-${i}" tabindex="0"><table>
<thead><tr><th scope="col">Layer</th><th scope="col" class="what">What was read</th><th scope="col" class="number">Size</th><th scope="col" class="number">Read</th><th scope="col" class="number">Fetched</th><th scope="col" class="number">Saved</th><th scope="col" class="number">Waited</th><th scope="col">How</th></tr></thead>
<tbody>
${layers.map(layerRow).join('\n')}
</tbody></table></div>
</section>`;
}

function layerRow(layer: ReportedLayer): string {
  const { digest, use, how, text, advice } = layer;
  const head = `<th scope="row"><code title="${escaped(digest)}">${escaped(shorten(digest))}</code></th>`;
  if (use === undefined) {
    const hint = advice === '' || text.includes(advice) ? '' : `<br><span class="note">${escaped(advice)}</span>`;
    return `<tr class="refused">${head}<td colspan="6">${escaped(text)}${hint}</td><td><strong>${howWord(layer)}</strong></td></tr>`;
  }
  const saved = savedBytesOf(use);
  const number = (value: string, title = ''): string =>
    `<td class="number"${title === '' ? '' : ` title="${title}"`}>${value}</td>`;
  const reasons = fetchReasons.filter((reason) => use.fetched[reason] > 0);
  const fetched = reasons.map((reason) => `${reason} ${sizeText(use.fetched[reason])}`).join(', ');
  const note = noteOf(use);
  return `<tr>${head}<td class="what">${pictureOf(layer)}${note === '' ? '' : `<span class="note">${note}</span>`}</td>${[
    number(sizeText(use.blobBytes)),
    number(use.isWhole ? '?' : sizeText(use.readBytes)),
    number(sizeText(fetchedBytesOf(use)), fetched),
    number(saved === undefined ? '?' : sizeText(Math.max(0, saved))),
    number(use.waits === 0 ? '–' : waitText(use.waitedMs), use.waits === 0 ? '' : `${use.waits} reads`),
  ].join(
    '',
  )}<td>${howWord(layer)}${how === undefined || text === '' ? '' : `<br><span class="note">${escaped(text)}</span>`}</td></tr>`;
}

function pictureOf({ use }: ReportedLayer): string {
  if (use === undefined || use.isWhole) return '';
  if (use.strip === undefined) return '<span class="note">nothing was read</span>';
  const part = Math.round((100 * use.readBytes) / Math.max(1, use.contentBytes));
  const here = Math.round((100 * use.presentBytes) / Math.max(1, use.contentBytes));
  return stripPicture(use.strip, `${part} % of the layer was read, ${here} % is here`);
}

/** A foreign text as text of a page or of an attribute in double quotes. */
function escaped(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return printable(text).replaceAll(/[&<>"']/g, (character) => entities[character]!);
}
