import { floors, type Room } from './rooms.ts';

/** The rooms with what each is for, the highest floor first, and what each floor stands on. */
export function roomsSection(): string {
  const lines = floors.toReversed().flatMap((rooms) => [...rooms.flatMap(linesOf), '  ' + '-'.repeat(14)]);
  return ['```', 'src/', ...lines.slice(0, -1), '```'].join('\n');
}

function linesOf({ name, about, parts = {} }: Room): string[] {
  const label = name.endsWith('.ts') ? name : `${name}/`;
  return [
    `  ${label.padEnd(15)} ${about}`,
    ...Object.entries(parts).map(([part, what]) => `    ${`${part}/`.padEnd(13)} ${what}`),
  ];
}
