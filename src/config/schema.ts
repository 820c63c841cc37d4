import { z } from 'zod';
import { parseAmount } from '../util/amount.ts';
import { similarTo } from '../util/similar.ts';
import type { TomlPath } from '../util/toml.ts';
import { mustBe, problemWith } from './problems.ts';

const seconds = z.int().min(-1).max(86_400);
const bytes = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const noAmount = {
  error: ({ input }: { readonly input?: unknown }) => mustBe('bytes, or text like "20GB", "20GiB" or "40%"', input),
};
const amount = z.union([bytes, z.string()], noAmount).refine((value) => parseAmount(value) !== undefined, noAmount);
const size = amount.refine((value) => !String(value).endsWith('%'), noAmount);
const share = z.number().gt(0).max(1);
const count = z.int().min(0).max(1_000_000);

const mirror = z.object({
  host: z.string().min(1).describe('Where the mirror is: a host, with a port and a path after `/v2/` if it has them.'),
  insecure: z.boolean().default(false).describe('Ask it over http.'),
  request_timeout_sec: seconds.optional().describe('As `resolver.request_timeout_sec`, for this mirror.'),
  header: z
    .record(z.string(), z.union([z.string(), z.array(z.string())]))
    .default({})
    .describe('Headers of requests to it, each with one value or several.'),
});

const client = z.object({
  name: z
    .string()
    .describe(
      'Names the directory of its snapshots: letters, digits, `-`, `_` and `.`, 63 at most, and not `default`.',
    ),
  address: z.string().min(1).describe('Path of its socket. Each client needs its own.'),
});

/**
 * `config.toml` of containerd-stargz-grpc: every key with its default and its meaning. Keys of lazypull's own are
 * marked `own`. An unknown key gets a warning and is never refused, so that a file for a newer program still starts
 * this one.
 */
export const fileSchema = z.object({
  metrics_address: z
    .string()
    .default('')
    .describe('Where to serve Prometheus metrics, as `HOST:PORT`; empty for nowhere. `--metrics-address` wins.'),
  no_prometheus: z.boolean().default(false).describe('Serve no metrics, whatever `metrics_address` says.'),
  debug_address: z.string().default('').describe('There is no profiler to serve.'),
  ipfs: z.boolean().default(false).describe('Layers come from registries and mirrors only.'),
  metadata_store: z
    .enum(['memory', 'db', ''])
    .default('memory')
    .describe('The table of contents of a layer is kept on the disk, and in memory while data is read.'),
  http_cache_type: z
    .enum(['', 'directory', 'memory'])
    .default('')
    .describe(
      'What was fetched is kept on the disk, unpacked and verified; the compressed bytes are kept with `mirror.address` only.',
    ),
  filesystem_cache_type: z
    .enum(['', 'directory', 'memory'])
    .default('')
    .describe('What was fetched is kept on the disk, unpacked and verified.'),
  resolve_result_entry_ttl_sec: seconds
    .default(120)
    .describe('A layer is known by its digest for as long as it is kept.'),
  resolve_result_entry: count.default(0).describe('A layer is known by its digest for as long as it is kept.'),
  prefetch_size: bytes
    .default(0)
    .describe('Bytes of the start of each layer to fetch at once. Landmarks in an eStargz layer win.'),
  prefetch_timeout_sec: seconds.default(10).describe('Nothing waits for what is fetched before it is read.'),
  prefetch_async_size: bytes.default(0).describe('Nothing waits for what is fetched before it is read.'),
  noprefetch: z.boolean().default(false).describe('Fetch nothing before it is read.'),
  no_background_fetch: z.boolean().default(false).describe('Do not complete layers in the background.'),
  debug: z.boolean().default(false).describe('`--log-level debug` does this.'),
  allow_no_verification: z
    .boolean()
    .default(false)
    .describe('Nothing is served that was not verified. A layer without digests is pulled.'),
  disable_verification: z.boolean().default(false).describe('Nothing is served that was not verified.'),
  max_concurrency: count.default(2).describe('Layers are completed in the background one after the other.'),
  log_file_access: z
    .boolean()
    .default(false)
    .describe('Reads are not logged; `lazypull trace export` has what was read first.'),
  blob: z
    .object({
      valid_interval: seconds.default(60),
      check_always: z.boolean().default(false),
      chunk_size: bytes.default(50_000),
      fetching_timeout_sec: seconds.default(300),
      force_single_range_mode: z.boolean().default(false),
      prefetch_chunk_size: bytes.default(0),
      max_retries: count.default(5),
      min_wait_msec: count.default(30),
      max_wait_msec: count.default(300_000),
    })
    .prefault({})
    .describe(
      'lazypull chooses the sizes, time limits and retries of its requests itself, by what is read and what the registry does.',
    ),
  directory_cache: z
    .object({
      max_lru_cache_entry: count.default(10),
      max_cache_fds: count.default(10),
      sync_add: z.boolean().default(false),
      direct: z.boolean().default(true),
      fadv_dontneed: z.boolean().default(false),
    })
    .prefault({})
    .describe('Each layer is one file, and the kernel caches what is read of it.'),
  fuse: z
    .object({
      attr_timeout: seconds.default(1),
      entry_timeout: seconds.default(1),
      passthrough: z.boolean().default(false),
      merge_buffer_size: bytes.default(419_430_400),
      merge_worker_count: count.default(10),
    })
    .prefault({})
    .describe(
      'Files and directories are those of an EROFS image. The kernel reads a complete layer without the daemon.',
    ),
  client: z.array(client).default([]).meta({ own: true }),
  background_fetch: z
    .object({
      max_bytes_per_second: bytes
        .default(0)
        .describe('The most bytes a second that completing layers in the background may fetch; 0 for no limit.'),
    })
    .prefault({})
    .meta({ own: true }),
  cache: z
    .object({
      max_size: amount
        .optional()
        .describe(
          'The most disk space that all layers together may take: bytes, `"20GB"`, `"20GiB"` or a part of the file system like `"40%"`; 0 for no limit. Without it, half of the file system or 10 GB, whichever is larger.',
        ),
      min_free: amount
        .optional()
        .describe('Space of the file system to leave free, written in the same way. Without it, 2 %.'),
      high_water: share
        .optional()
        .describe(
          'Once layers take more than this part of `max_size`, those that are not in use are removed. Without it, 0.95.',
        ),
      low_water: share
        .optional()
        .describe('Removal stops once layers take less than this part of `max_size`. Without it, 0.8.'),
    })
    .refine(({ high_water = 0.95, low_water = 0.8 }) => low_water <= high_water, {
      error: 'low_water must not be above high_water',
    })
    .prefault({})
    .meta({ own: true }),
  index: z
    .object({
      max_size: amount
        .default('2GB')
        .describe(
          'The most disk space that layer indexes on this machine may take, written as in `[cache]`; 0 for no limit. The longest unused are removed first.',
        ),
      repository: z
        .string()
        .default('')
        .describe(
          'The repository of the layer indexes of a team, such as "registry.example/team/indexes". The daemon looks there before it pulls a layer, and trusts these indexes.',
        ),
      push: z
        .boolean()
        .default(false)
        .describe('Push indexes that are made here to `repository`, with the credentials of `docker login`.'),
      referrers: z
        .boolean()
        .default(false)
        .describe(
          'Use indexes that are attached to an image in its own repository too. This trusts everyone with the right to push there.',
        ),
      trusted_keys: z
        .array(z.string().min(1))
        .default([])
        .describe(
          'Ed25519 public keys, in PEM or base64. With one or more, an index from elsewhere is used only if one of them signed it.',
        ),
      signing_key: z
        .string()
        .default('')
        .describe('File with an Ed25519 private key in PEM that signs what this machine pushes.'),
      lookup_timeout_msec: z
        .int()
        .min(0)
        .max(10_000)
        .default(300)
        .describe(
          'How long a layer waits for the answer whether it has an index, in milliseconds beyond a round trip.',
        ),
    })
    .prefault({})
    .meta({ own: true }),
  unindexed: z
    .object({
      mode: z
        .enum(['pull', 'client'])
        .default('pull')
        .describe(
          'What to do with a layer that names no index, as most layers: `pull`: the daemon uses an index that it has or finds, else it pulls the layer and makes one; `client`: the client pulls it.',
        ),
      min_size: size
        .optional()
        .describe('Leave smaller blobs to the client: bytes, or text like `"1MB"`. Without it, none is too small.'),
      max_size: size
        .optional()
        .describe('Leave larger blobs to the client, written in the same way. Without it, none is too large.'),
    })
    .prefault({})
    .meta({ own: true }),
  snapshotter: z
    .object({
      allow_invalid_mounts_on_restart: z
        .boolean()
        .default(false)
        .describe(
          'Accepted, and always so: if a layer cannot be mounted at the start, the daemon serves, and tries again in the background.',
        ),
      direct_io: z.boolean().default(false).meta({
        description:
          'Let programs read files of lazy images past the page cache (`O_DIRECT`): layers that are mounted from then on have a loop device each. [Limits](limits.md) says what this costs.',
        own: true,
      }),
      xino: z.enum(['on', 'auto', 'off']).default('on').meta({
        description:
          'Whether files and directories of a lazy image have one device number and stable inode numbers, by the overlayfs option of this name: `on`; `auto`, if the kernel can; `off`, which leaves it to `/sys/module/overlay/parameters/xino_auto`.',
        own: true,
      }),
    })
    .prefault({}),
  mirror: z
    .object({
      address: z
        .string()
        .default('')
        .describe(
          'Where to serve a pull-through mirror of all registries, such as "127.0.0.1:8235"; nowhere by default.',
        ),
      allow_remote: z
        .boolean()
        .default(false)
        .describe('Allow an address that other machines can reach: they can then read all that this machine may pull.'),
    })
    .prefault({})
    .meta({ own: true }),
  fuse_manager: z
    .object({
      enable: z.boolean().default(false),
      address: z.string().default(''),
      path: z.string().default(''),
      metrics_address: z.string().default(''),
    })
    .prefault({})
    .describe('A process that keeps mounts alive starts by itself.'),
  kubeconfig_keychain: z
    .object({
      enable_keychain: z.boolean().default(false),
      kubeconfig_path: z.string().default(''),
    })
    .prefault({})
    .describe('Credentials are those of `docker login`.'),
  cri_keychain: z
    .object({
      enable_keychain: z.boolean().default(false),
      image_service_path: z.string().default('/run/containerd/containerd.sock'),
      listen_path: z.string().default(''),
    })
    .prefault({})
    .describe('Credentials are those of `docker login`.'),
  resolver: z
    .object({
      request_timeout_sec: seconds
        .default(30)
        .describe('How long to wait for the headers of an answer, in seconds; -1 for the maximum of ten minutes.'),
      config_path: z.string().default('/etc/containerd/certs.d:/etc/docker/certs.d').meta({
        description:
          'Directories with a `hosts.toml` for each registry, as containerd has them in `config_path` of its registries. Separate several with ":"; the first that has the registry counts.',
        own: true,
      }),
      host: z.record(z.string(), z.object({ mirrors: z.array(mirror).default([]) })).default({}),
    })
    .prefault({}),
});

/** A parsed `config.toml`, complete with defaults. Names are those of the file. */
export type FileConfig = z.infer<typeof fileSchema>;

/** A problem in a config file: where it is, by keys and numbers of elements, and what to say about it. */
export interface ConfigProblem {
  readonly path: TomlPath;
  readonly text: string;
}

/** What is wrong with `value` as a config file; empty if nothing is. */
export function problemsIn(value: unknown): ConfigProblem[] {
  const result = fileSchema.safeParse(value, { error: problemWith });
  if (result.success) return [];
  return result.error.issues.map(({ path, message }) => ({
    path: path.map((key) => (typeof key === 'number' ? key : String(key))),
    text: message,
  }));
}

/** The keys in `value` that the schema does not have, and for each a suggestion: '' or "did you mean …?". */
export function unknownKeysIn(value: unknown, schema: z.ZodType = fileSchema, path: TomlPath = []): ConfigProblem[] {
  const inner = unwrap(schema);
  if (Array.isArray(value)) {
    return inner instanceof z.ZodArray
      ? value.flatMap((item, i) => unknownKeysIn(item, inner.element as z.ZodType, [...path, i]))
      : [];
  }
  if (typeof value !== 'object' || value === null) return [];
  if (inner instanceof z.ZodRecord) {
    return Object.entries(value).flatMap(([key, item]) =>
      unknownKeysIn(item, inner.valueType as z.ZodType, [...path, key]),
    );
  }
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(value).flatMap(([key, item]) => {
    const known = Object.hasOwn(inner.shape, key) ? inner.shape[key] : undefined;
    if (known !== undefined) return unknownKeysIn(item, known as z.ZodType, [...path, key]);
    return [{ path: [...path, key], text: suggestionFor(key, Object.keys(inner.shape), path) }];
  });
}

/** Looks among the keys of the same table, then for the same key in another table. */
function suggestionFor(key: string, siblings: readonly string[], table: TomlPath): string {
  const similar = similarTo(key, siblings);
  const meant = similar === undefined ? placesOf(key) : [dotted([...table, similar])];
  if (meant.length === 0 || meant.length > maxPlaces) return '';
  return `did you mean ${meant.map(quoted).join(' or ')}?`;
}

/** If a key is in more tables than that, none of them is suggested. */
const maxPlaces = 2;

/** The dotted names of tables and keys that end in `key`. */
function placesOf(key: string, schema: z.ZodType = fileSchema, path: TomlPath = []): string[] {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodArray) return placesOf(key, inner.element as z.ZodType, path);
  if (!(inner instanceof z.ZodObject)) return [];
  const below = Object.entries(inner.shape).flatMap(([name, each]) =>
    placesOf(key, each as z.ZodType, [...path, name]),
  );
  return Object.hasOwn(inner.shape, key) ? [dotted([...path, key]), ...below] : below;
}

/** A path as a dotted key of TOML; numbers of elements are parts of it too. */
export function dotted(path: TomlPath): string {
  return path.map((key) => (/^[\w-]+$/.test(String(key)) ? key : JSON.stringify(key))).join('.');
}

/** A name in quotation marks, unless it has quotation marks already. */
export function quoted(name: string): string {
  return name.includes('"') ? name : `"${name}"`;
}

function unwrap(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) {
    return unwrap(schema.unwrap() as z.ZodType);
  }
  return schema;
}
