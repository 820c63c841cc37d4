/** Levels as containerd-stargz-grpc names them. `panic` is taken as `fatal`. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'panic'] as const;
export type LogLevel = (typeof logLevels)[number];

/** What the rooms log to. Fields first, then the message, as pino has it. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** The log of a process, which also has the last word of one that cannot go on. */
export interface ProcessLog extends Log {
  fatal(fields: object, message: string): void;
}

/** `auto` is text where standard error is a terminal, and JSON elsewhere. */
export const logFormats = ['auto', 'json', 'text'] as const;
export type LogFormat = (typeof logFormats)[number];

/** A log that drops everything, for tests and for commands that print their own errors. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
