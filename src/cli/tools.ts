import { fileURLToPath } from 'node:url';

/** Directory of the programs that script/setup builds. */
export const tools = fileURLToPath(new URL('../../.cache/bin', import.meta.url));
