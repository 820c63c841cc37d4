const pattern = /^lazypull-[0-9a-f]{16}(\.|$)/;

/** Whether a text can be the name of a connection. */
export function isConnectionName(name: string): boolean {
  return pattern.exec(name)?.[1] === '';
}

/** The name by which a connection's file is mounted. It tells which connection that is. */
export function nameOn(connection: string, file: string): string {
  return `${connection}.${file}`;
}

/** Whether a name is that of a file on some connection. */
export function isOnConnection(name: string): boolean {
  return pattern.exec(name)?.[1] === '.';
}
