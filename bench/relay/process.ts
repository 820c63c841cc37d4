import type { LinkShape } from '../link.ts';
import { ShapedLink, type Traffic } from './shaped-link.ts';

/** What the benchmark asks the process of the relay; every question has a number, and the answer has it too. */
export type Question =
  | { readonly number: number; readonly ask: 'open'; readonly shape: LinkShape; readonly upstreamPort: number }
  | { readonly number: number; readonly ask: 'take'; readonly port: number };

export type Answer = { readonly number: number } & (
  | { readonly port: number }
  | { readonly traffic: Traffic }
  | { readonly error: string }
);

const links = new Map<number, ShapedLink>();

async function answer(question: Question): Promise<Answer> {
  const { number } = question;
  if (question.ask === 'open') {
    const link = await ShapedLink.open(question.shape, question.upstreamPort);
    links.set(link.port, link);
    return { number, port: link.port };
  }
  const link = links.get(question.port);
  return link === undefined ? { number, error: `No link on port ${question.port}` } : { number, traffic: link.take() };
}

process.on('message', (question: Question) => {
  answer(question).then(
    (reply) => process.send?.(reply),
    (error: unknown) => process.send?.({ number: question.number, error: String(error) }),
  );
});
// The benchmark is over, or it was killed.
process.once('disconnect', () => process.exit(0));
