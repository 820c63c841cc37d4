const pattern = /^lazypull-[0-9a-f]{16}(\.|$)/;

/** Whether a connection can have this name. */
export function isConnectionName(name: string): boolean {
  return pattern.exec(name)?.[1] === '';
}

/** The name by which a connection's file is mounted: it tells from which connection that is. */
export function nameOn(connection: string, file: string): string {
  return `${connection}.${file}`;
}

/** Whether a file with this name is one of a connection, whichever. */
export function isOnConnection(name: string): boolean {
  return pattern.exec(name)?.[1] === '.';
}
