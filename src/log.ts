/** Levels as containerd-stargz-grpc names them. `panic` is taken as `fatal`. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'panic'] as const;
export type LogLevel = (typeof logLevels)[number];

/** The log interface for all rooms. Fields come first, then the message, as in pino. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** The log of a process, which also takes the last words before it ends. */
export interface ProcessLog extends Log {
  fatal(fields: object, message: string): void;
}

/** `auto` is text if standard error is a terminal, and JSON otherwise. */
export const logFormats = ['auto', 'json', 'text'] as const;
export type LogFormat = (typeof logFormats)[number];

/** A log that drops everything, for tests and for commands that print their own errors. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
