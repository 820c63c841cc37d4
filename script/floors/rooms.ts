/** A folder of `src/`, or a file that stands there alone. */
export interface Room {
  readonly name: string;
  /** What it is for, in a line of `docs/architecture.md`. */
  readonly about: string;
  /**
   * The packages that it may import, beside those of `plain`. All modules of `@bufbuild`, `@grpc` and the like count as
   * one.
   */
  readonly packages?: readonly string[];
  /** What it may import of lower floors, as rooms or files of them, if that is not everything. */
  readonly only?: readonly string[];
  /** The rooms that may import it, if not all above. */
  readonly importedBy?: readonly string[];
  /** Its folders that a reader should know of, with what each is for. */
  readonly parts?: Readonly<Record<string, string>>;
  /** What a part may import beside that: packages by folder or file of the room. */
  readonly more?: Readonly<Record<string, readonly string[]>>;
}

/** Packages that any room may import: they reach nothing outside of the process. */
export const plain = [
  'node:crypto',
  'node:events',
  'node:path',
  'node:stream',
  'node:timers',
  'node:util',
  'node:zlib',
];

const files = ['node:fs', 'node:os'];
const threads = ['node:worker_threads'];
const knowGrpc = ['rpc', 'snapshots', 'status', 'containerd'];
const grpc = ['@bufbuild', '@grpc', 'node:http2', 'node:net'];

/**
 * The rooms of `src/` by floors, from the ground up. A room imports rooms of lower floors only: none of its own floor,
 * and none above. A new room is one line here;
 * `npm run gen:docs` makes the lint rules in `.oxlintrc.json` and the list in `docs/architecture.md` of it.
 */
export const floors: readonly (readonly Room[])[] = [
  [
    { name: 'errors.ts', about: 'the one class of errors: a code, a message, what to do' },
    { name: 'node-version.ts', about: 'a clear message for a Node that is too old' },
    { name: 'label-names.ts', about: 'every label of a snapshot and annotation of a manifest, once' },
    { name: 'version.ts', about: 'the version of the package', packages: files },
    { name: 'gen', about: 'generated from proto/, never edited', packages: grpc, importedBy: knowGrpc },
  ],
  [
    {
      name: 'util',
      about: 'small helpers that know nothing of layers, each a file',
      packages: [...threads, 'node:http', 'node:net', 'node:v8', 'smol-toml'],
    },
  ],
  [
    { name: 'log.ts', about: 'what the rooms log to' },
    { name: 'spans.ts', about: 'what the rooms tell a tracer' },
    { name: 'metrics.ts', about: 'counters, gauges and histograms, and how Prometheus reads them' },
    { name: 'chunks', about: 'what the data path speaks of: the table of chunks, ranges, which of them are here' },
  ],
  [
    {
      name: 'kernel',
      about: 'system calls, libraries in C and other programs; no other room calls them',
      packages: [...files, ...threads, 'koffi', 'node:child_process'],
    },
  ],
  [
    { name: 'process-log.ts', about: 'the log of a process, on standard error', packages: ['node:tty', 'pino'] },
    {
      name: 'registry',
      about: 'client of OCI registries: references, blobs in ranges, pushes',
      packages: [...files, 'node:dns', 'node:http', 'node:net', 'node:tls', 'undici'],
      parts: {
        http: 'connections, TLS, proxies, retries, deadlines',
        auth: 'challenges, tokens and the sources of credentials',
        hosts: 'hosts.toml: which servers stand for a registry, and how they do',
        blob: 'ranges of a blob from whichever server has it',
      },
      more: { 'auth/credentials': ['node:child_process'] },
    },
    {
      name: 'rpc',
      about: 'gRPC: services from descriptors, health, connections, bounds on answers',
      packages: grpc,
    },
  ],
  [
    {
      name: 'formats',
      about: 'bytes of a blob to a LayerIndex; no I/O but through the Blob that it is given',
      only: ['errors.ts', 'label-names.ts', 'util', 'chunks', 'kernel/zlib.ts', 'registry/blob/blob.ts'],
    },
    {
      name: 'images',
      about: 'manifests and indexes of images, platforms, what a reference resolves to',
      packages: files,
    },
    {
      name: 'fuse',
      about: "the kernel's FUSE protocol for flat files, and the thread that reads it",
      packages: [...files, ...threads],
    },
  ],
  [
    {
      name: 'fronts',
      about: 'a LayerIndex to what the kernel mounts; no I/O',
      only: ['errors.ts', 'util', 'chunks', 'formats'],
      parts: { erofs: 'an EROFS image whose data area fills itself' },
    },
    {
      name: 'indexes',
      about: "where lazypull's layer indexes are kept and shared: the machine's store, a team's repository, trust",
      packages: files,
    },
  ],
  [
    {
      name: 'layers',
      about: 'the life of a lazy layer: labels to source, index, mount, readers, end',
      packages: [...files, ...threads],
      parts: {
        resolve: 'labels to a layer and its index, or to the reason why it is not lazy',
        plan: 'what is written into the files of a layer, and how layers stack',
        fetch: 'misses and what is fetched with them: windows, the background, requests',
        prefetch: 'what is going to be read: traces, ELF headers, profiles of programs',
        store: 'the files that are kept of a layer',
        uses: 'what layers did while they were mounted',
        cache: 'how much of the disk layers may take, and which of them go',
        workers: 'unpacking, verifying and planning, off the event loop',
        'warm-up': 'a layer that was made up, for code to be warm before the first real one',
      },
    },
  ],
  [{ name: 'image-reader', about: 'the files of an image in a registry, without a mount', packages: files }],
  [
    {
      name: 'snapshots',
      about: "containerd's Snapshots service: the gRPC edge, the rules, the store (SQLite), the shapes of mounts",
      packages: [...files, ...grpc, 'node:sqlite', 're2js'],
    },
    { name: 'config', about: 'config.toml: schema, defaults, precedence', packages: [...files, 'zod'] },
    { name: 'state', about: "the daemon's root directory: its lock, its owner, a handover", packages: files },
    {
      name: 'setup',
      about: 'what lazypull needs in the configuration files of its clients',
      packages: [...files, 'smol-toml'],
    },
  ],
  [
    { name: 'status', about: 'the services that tell what a daemon is doing, and their clients', packages: grpc },
    {
      name: 'mirror',
      about: 'a pull-through mirror: what is kept of compressed blobs, which request fetches what',
      packages: [...files, 'node:http', 'node:net'],
    },
  ],
  [
    {
      name: 'daemon',
      about: 'start order, sockets, the keeper, signals, service manager',
      packages: [...files, '@opentelemetry', 'node:async_hooks', 'node:http', 'node:v8'],
    },
    {
      name: 'buildkit',
      about: '`lazypull buildkitd`: flags of buildkitd, the daemons that it needs, the compose file',
      packages: files,
    },
    { name: 'convert', about: 'plain images to eStargz', packages: [...files, ...threads] },
    {
      name: 'containerd',
      about: 'a client of containerd: an image into it, without its layers',
      packages: grpc,
    },
  ],
  [
    {
      name: 'doctor',
      about: '`lazypull check`: what of a machine is right, what is not, what mends it',
      packages: files,
    },
  ],
  [
    {
      name: 'cli',
      about: 'a file per command: parse, call, print',
      packages: [...files, 'commander', 'node:tty', 'node:url'],
    },
    { name: 'library', about: 'what other programs call: an image opened, read, inspected, converted' },
  ],
  [
    { name: 'bin', about: 'the two mains', packages: files },
    { name: 'index.ts', about: 'the entry for other programs: what `library/` exports' },
  ],
];
