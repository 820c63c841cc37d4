import { floors, plain, type Room } from './rooms.ts';

/** An override of oxlint's configuration. */
export interface Override {
  readonly files: readonly string[];
  readonly rules: Readonly<Record<string, unknown>>;
}

/** Folders in a room are at most this deep: patterns speak of the text of an import, so each depth has its own. */
const maxDepth = 3;

/** The rules for imports that the floors give: for each room, what it may import, and nothing else. */
export function lintOverrides(): Override[] {
  const below: Room[] = [];
  return floors.flatMap((rooms) => {
    const overrides = rooms.flatMap((room) => overridesOf(room, room.only ?? openTo(room, below)));
    below.push(...rooms);
    return overrides;
  });
}

function openTo(room: Room, rooms: readonly Room[]): string[] {
  return rooms.filter(({ importedBy }) => importedBy?.includes(room.name) ?? true).map(({ name }) => name);
}

function overridesOf(room: Room, rooms: readonly string[]): Override[] {
  if (isFile(room.name)) return [override(`src/${room.name}`, room, rooms, 0)];
  const depths = Array.from({ length: maxDepth }, (_, i) => i + 1);
  const whole = depths.map((depth) => override(`src/${room.name}/${'*/'.repeat(depth - 1)}*.ts`, room, rooms, depth));
  const more = Object.entries(room.more ?? {}).map(([part, packages]) => {
    const depth = part.split('/').length + (isFile(part) ? 0 : 1);
    return override(`src/${room.name}/${isFile(part) ? part : `${part}/*.ts`}`, room, rooms, depth, packages);
  });
  return [...whole, ...more];
}

/** The last pattern that fits an import decides. */
function override(
  glob: string,
  room: Room,
  rooms: readonly string[],
  depth: number,
  more: readonly string[] = [],
): Override {
  const up = depth === 0 ? './' : '../'.repeat(depth);
  const packages = [...plain, ...(room.packages ?? []), ...more];
  const group = [
    '*',
    '**/*',
    ...(depth === 0 ? [] : ['!./**', '!../**']),
    `${up}*`,
    `${up}**`,
    ...allowed(up, rooms.filter(isFile), ''),
    ...allowed(
      up,
      rooms.filter((name) => !isFile(name)),
      '/**',
    ),
    ...allowed('', packages, ''),
    ...allowed('', packages, '/**'),
  ];
  const about = isFile(room.name) ? room.name : `${room.name}/`;
  const message = `${about} may not import that: see script/floors/rooms.ts`;
  return {
    files: [glob],
    rules: {
      'no-restricted-imports': ['error', { patterns: [{ group: group, message }] }],
    },
  };
}

/** The pattern of what is allowed after all, if that is anything. */
function allowed(before: string, names: readonly string[], after: string): string[] {
  return names.length === 0 ? [] : [`!${before}{${names.join(',')}}${after}`];
}

function isFile(name: string): boolean {
  return name.endsWith('.ts');
}
