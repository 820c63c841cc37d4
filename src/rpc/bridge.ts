/**
 * gRPC for the rest of the program: services of protobuf descriptors on one side, `RpcClient` in `rpc-client.ts` on the
 * other. It knows containerd's error codes and namespaces, and none of our services except for health checks.
 *
 * Begin with `bridge`. `turns.ts` and `unread.ts` bound the memory of answers that clients do not read.
 */

import {
  type DescMessage,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
  create,
  fromBinary,
  toBinary,
} from '@bufbuild/protobuf';
import type { GenService, GenServiceMethods } from '@bufbuild/protobuf/codegenv2';
import {
  type Metadata,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type UntypedServiceImplementation,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { type ErrorCode, LazypullError, codeOf, explain } from '../errors.ts';
import type { Log } from '../log.ts';
import { ErrorFields } from './error-fields.ts';
import { type CallMetrics, callMetrics } from './metrics.ts';
import { Turns } from './turns.ts';
import { bytesSent, dropCall, UnreadAnswers } from './unread.ts';

/**
 * What a generated service needs: a function for each method, which answers with a message, or with messages if the
 * method streams. It throws to answer an error. `namespace` is the one of containerd that the caller works for; '' if
 * it names none. `traceparent` is the header of that name; '' if there is none. `signal` aborts when the caller gives
 * up: it cancels the call, its deadline passes or it is gone.
 */
export type Handlers<M extends GenServiceMethods> = {
  readonly [K in keyof M]: M[K]['methodKind'] extends 'server_streaming'
    ? (
        request: MessageShape<M[K]['input']>,
        signal: AbortSignal,
      ) => Iterable<MessageInitShape<M[K]['output']>> | AsyncIterable<MessageInitShape<M[K]['output']>>
    : (
        request: MessageShape<M[K]['input']>,
        namespace: string,
        signal: AbortSignal,
        traceparent: string,
      ) => Promise<MessageInitShape<M[K]['output']>> | MessageInitShape<M[K]['output']>;
};

/** What grpc-js' `Server.addService` takes. */
export interface Bridged {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

type Call = ServerUnaryCall<MessageShape<DescMessage>, MessageShape<DescMessage>>;
type Stream = ServerWritableStream<MessageShape<DescMessage>, MessageShape<DescMessage>>;
type Message = MessageInitShape<DescMessage>;

/**
 * Is called before each call of a method that does not stream, with the pid of the calling process, 0 if it is not
 * known. It throws to answer an error.
 */
export type Guard = (method: string, pid: number) => void;

/**
 * Makes a grpc-js service of a protobuf-es descriptor. Errors become status codes as in `statusOf`, and are logged at
 * debug level with the method.
 *
 * @param turns bounds how many streaming calls are served at a time; undefined for all
 */
export function bridge<M extends GenServiceMethods>(
  service: GenService<M>,
  handlers: Handlers<M>,
  log: Log,
  metrics: CallMetrics = callMetrics(),
  guard?: Guard,
  turns?: Turns,
): Bridged {
  const unread = new UnreadAnswers();
  const methods = Object.entries<DescMethod>(service.method);
  const definition = Object.fromEntries(methods.map(([name, method]) => [name, methodDefinition(method)]));
  const implementation = Object.fromEntries(
    methods.map(([name, method]) => {
      const handler: unknown = handlers[name];
      const measured = async (call: () => Promise<string>): Promise<void> => {
        metrics.begin();
        const started = performance.now();
        const code = await call();
        metrics.calls.add(1, { method: method.name, code });
        metrics.callSeconds.observe((performance.now() - started) / 1000, { method: method.name });
      };
      return [
        name,
        method.methodKind === 'server_streaming'
          ? (call: Stream) => void measured(() => stream(method, handler as StreamHandler, call, log, turns))
          : (call: Call, done: sendUnaryData<unknown>) =>
              void measured(() => {
                const guarded: UnaryHandler = (request, _namespace, signal) => {
                  guard?.(method.name, pidOf(call.getPeer()));
                  return (handler as UnaryHandler)(
                    request,
                    headerOf(call, namespaceHeader),
                    signal,
                    headerOf(call, 'traceparent'),
                  );
                };
                return answer(method, guarded, call, done, log, unread);
              }),
      ];
    }),
  );
  return { definition, implementation };
}

function methodDefinition(method: DescMethod): ServiceDefinition[string] {
  const { input, output } = method;
  const write = (schema: DescMessage) => (value: MessageShape<DescMessage>) => {
    const bytes = toBinary(schema, value);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
  const read = (schema: DescMessage) => (bytes: Buffer) => fromBinary(schema, bytes);
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: false,
    responseStream: method.methodKind === 'server_streaming',
    requestSerialize: write(input),
    requestDeserialize: read(input),
    responseSerialize: write(output),
    responseDeserialize: read(output),
  };
}

type UnaryHandler = (
  request: unknown,
  namespace: string,
  signal: AbortSignal,
  traceparent: string,
) => Promise<Message> | Message;
type StreamHandler = (request: unknown, signal: AbortSignal) => Iterable<Message> | AsyncIterable<Message>;

/** @returns how the call ended: `OK`, or the class of the error */
async function answer(
  method: DescMethod,
  handler: UnaryHandler,
  call: Call,
  done: sendUnaryData<unknown>,
  log: Log,
  unread: UnreadAnswers,
): Promise<string> {
  const gone = new AbortController();
  let isAnswered = false;
  call.on('cancelled', () => {
    // grpc-js also says so of each call that it has answered.
    if (!isAnswered) gone.abort(new LazypullError('Canceled', 'The client cancelled the call'));
  });
  try {
    const message = create(method.output, await handler(call.request, '', gone.signal, ''));
    isAnswered = true;
    done(null, message);
    unread.note(call);
    return 'OK';
  } catch (error) {
    isAnswered = true;
    done(failure(method, error, log));
    return codeOf(error);
  }
}

/** Makes the next message after the client has taken the previous one. */
async function stream(
  method: DescMethod,
  handler: StreamHandler,
  call: Stream,
  log: Log,
  turns: Turns = new Turns(),
): Promise<string> {
  const gone = new AbortController();
  let isOver = false;
  call.on('cancelled', () => {
    // grpc-js also says so of each call that has ended, and to abort makes an error with a stack.
    if (!isOver) gone.abort();
  });
  let isLost = false;
  try {
    using turn = await turns.take(gone.signal);
    for await (const message of handler(call.request, gone.signal)) {
      if (gone.signal.aborted) return 'Canceled';
      const taken = turn.taken(written(call, create(method.output, message)), () => bytesSent(call));
      await taken.finally(() => (isLost = turn.isLost));
    }
    isOver = true;
    call.end();
    return 'OK';
  } catch (error) {
    if (gone.signal.aborted) return 'Canceled';
    const failed = failure(method, error, log);
    if (isLost) dropCall(call);
    else call.emit('error', failed);
    return codeOf(error);
  }
}

function written(call: Stream, message: MessageShape<DescMessage>): Promise<void> {
  return new Promise((resolve, reject) => {
    call.write(message, (error: Error | null | undefined) => (error ? reject(error) : resolve()));
  });
}

/** The header with the namespace, of containerd's clients and of its own calls of plugins (pkg/namespaces). */
const namespaceHeader = 'containerd-namespace';

function headerOf(call: Call, name: string): string {
  return String(call.metadata.get(name)[0] ?? '');
}

const peerPrefix = 'pid:';

/** The remote address that a connection of a process must have, so that `Guard` gets the pid. */
export function peerOf(pid: number): string {
  return `${peerPrefix}${pid}`;
}

function pidOf(peer: string): number {
  return peer.startsWith(peerPrefix) ? Number(peer.slice(peerPrefix.length)) : 0;
}

function failure(method: DescMethod, error: unknown, log: Log): ReturnType<typeof statusOf> & { metadata: Metadata } {
  const result = statusOf(error);
  log.debug({ method: method.name, code: codeOf(error), error: result.details }, 'call failed');
  return { ...result, metadata: ErrorFields.of(error).metadata };
}

const MAX_DETAILS_LENGTH = 2048;

/**
 * The status code of each error class, and the text of containerd's errdefs for it, with which the message on the wire
 * ends.
 */
const classes: Readonly<Record<ErrorCode, readonly [status, string]>> = {
  InvalidArgument: [status.INVALID_ARGUMENT, 'invalid argument'],
  NotFound: [status.NOT_FOUND, 'not found'],
  AlreadyExists: [status.ALREADY_EXISTS, 'already exists'],
  FailedPrecondition: [status.FAILED_PRECONDITION, 'failed precondition'],
  Unavailable: [status.UNAVAILABLE, 'unavailable'],
  Unauthenticated: [status.UNAUTHENTICATED, 'unauthenticated'],
  PermissionDenied: [status.PERMISSION_DENIED, 'permission denied'],
  ResourceExhausted: [status.RESOURCE_EXHAUSTED, 'resource exhausted'],
  DataLoss: [status.DATA_LOSS, 'data loss'],
  Unimplemented: [status.UNIMPLEMENTED, 'not implemented'],
  Canceled: [status.CANCELLED, 'context canceled'],
  DeadlineExceeded: [status.DEADLINE_EXCEEDED, 'context deadline exceeded'],
  Unknown: [status.UNKNOWN, 'unknown'],
};

/**
 * The gRPC status of any thrown value, as containerd's errgrpc makes it. The text is cut, because it travels in a
 * header.
 */
export function statusOf(error: unknown): { code: status; details: string } {
  const [code, text] = classes[codeOf(error)];
  const message = explain(error).toWellFormed();
  const cut = message.length > MAX_DETAILS_LENGTH ? `${message.slice(0, MAX_DETAILS_LENGTH).toWellFormed()}…` : message;
  return { code, details: cut === text || cut.endsWith(`: ${text}`) ? cut : `${cut}: ${text}` };
}
