import { z } from 'zod';
import { parseAmount } from '../util/amount.ts';

const seconds = z.int().min(-1).max(86_400);
const bytes = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const amount = z.union([bytes, z.string()]).refine((value) => parseAmount(value) !== undefined, {
  error: 'it must be bytes, or text like "20GB", "20GiB" or "40%"',
});
const share = z.number().gt(0).max(1);
const count = z.int().min(0).max(1_000_000);

const mirror = z.object({
  host: z.string().min(1),
  insecure: z.boolean().default(false),
  request_timeout_sec: seconds.optional(),
  header: z.record(z.string(), z.union([z.string(), z.array(z.string())])).default({}),
});

/**
 * `config.toml` of containerd-stargz-grpc, every key with its default, and lazypull's own tables `background_fetch` and `cache` and key `resolver.config_path`. A key that is not here is warned about, never
 * refused, so that a file written for a newer program still starts this one.
 */
export const fileSchema = z.object({
  metrics_address: z.string().default(''),
  no_prometheus: z.boolean().default(false),
  debug_address: z.string().default(''),
  ipfs: z.boolean().default(false),
  metadata_store: z.enum(['memory', 'db', '']).default('memory'),
  http_cache_type: z.enum(['', 'directory', 'memory']).default(''),
  filesystem_cache_type: z.enum(['', 'directory', 'memory']).default(''),
  resolve_result_entry_ttl_sec: seconds.default(120),
  resolve_result_entry: count.default(0),
  prefetch_size: bytes.default(0),
  prefetch_timeout_sec: seconds.default(10),
  prefetch_async_size: bytes.default(0),
  noprefetch: z.boolean().default(false),
  no_background_fetch: z.boolean().default(false),
  debug: z.boolean().default(false),
  allow_no_verification: z.boolean().default(false),
  disable_verification: z.boolean().default(false),
  max_concurrency: count.default(2),
  log_file_access: z.boolean().default(false),
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
    .prefault({}),
  directory_cache: z
    .object({
      max_lru_cache_entry: count.default(10),
      max_cache_fds: count.default(10),
      sync_add: z.boolean().default(false),
      direct: z.boolean().default(true),
      fadv_dontneed: z.boolean().default(false),
    })
    .prefault({}),
  fuse: z
    .object({
      attr_timeout: seconds.default(1),
      entry_timeout: seconds.default(1),
      passthrough: z.boolean().default(false),
      merge_buffer_size: bytes.default(419_430_400),
      merge_worker_count: count.default(10),
    })
    .prefault({}),
  background_fetch: z.object({ max_bytes_per_second: bytes.default(0) }).prefault({}),
  cache: z
    .object({
      max_size: amount.optional(),
      min_free: amount.optional(),
      high_water: share.optional(),
      low_water: share.optional(),
    })
    .refine(({ high_water = 0.95, low_water = 0.8 }) => low_water <= high_water, {
      error: 'low_water must not be above high_water',
    })
    .prefault({}),
  snapshotter: z.object({ allow_invalid_mounts_on_restart: z.boolean().default(false) }).prefault({}),
  fuse_manager: z
    .object({
      enable: z.boolean().default(false),
      address: z.string().default(''),
      path: z.string().default(''),
      metrics_address: z.string().default(''),
    })
    .prefault({}),
  kubeconfig_keychain: z
    .object({ enable_keychain: z.boolean().default(false), kubeconfig_path: z.string().default('') })
    .prefault({}),
  cri_keychain: z
    .object({
      enable_keychain: z.boolean().default(false),
      image_service_path: z.string().default('/run/containerd/containerd.sock'),
      listen_path: z.string().default(''),
    })
    .prefault({}),
  resolver: z
    .object({
      request_timeout_sec: seconds.default(30),
      config_path: z.string().default('/etc/containerd/certs.d:/etc/docker/certs.d'),
      host: z.record(z.string(), z.object({ mirrors: z.array(mirror).default([]) })).default({}),
    })
    .prefault({}),
});

/** A parsed `config.toml`, complete with defaults. Names are those of the file. */
export type FileConfig = z.infer<typeof fileSchema>;

/** What is wrong with `value` as a config file, one "key: reason" each; empty when it is right. */
export function problemsIn(value: unknown): string[] {
  const result = fileSchema.safeParse(value);
  if (result.success) return [];
  return result.error.issues.map((issue) => `${issue.path.map(String).join('.') || '(top)'}: ${issue.message}`);
}

/** The dotted names of the keys in `value` that the schema does not have. */
export function unknownKeysIn(value: unknown, schema: z.ZodType = fileSchema, path: string[] = []): string[] {
  const inner = unwrap(schema);
  if (Array.isArray(value)) {
    return inner instanceof z.ZodArray
      ? value.flatMap((item) => unknownKeysIn(item, inner.element as z.ZodType, path))
      : [];
  }
  if (typeof value !== 'object' || value === null) return [];
  if (inner instanceof z.ZodRecord) {
    return Object.entries(value).flatMap(([key, item]) =>
      unknownKeysIn(item, inner.valueType as z.ZodType, [...path, JSON.stringify(key)]),
    );
  }
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(value).flatMap(([key, item]) => {
    const known = Object.hasOwn(inner.shape, key) ? inner.shape[key] : undefined;
    return known === undefined ? [[...path, key].join('.')] : unknownKeysIn(item, known as z.ZodType, [...path, key]);
  });
}

function unwrap(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) {
    return unwrap(schema.unwrap() as z.ZodType);
  }
  return schema;
}
