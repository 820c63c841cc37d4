import { MetricsRegistry } from '../metrics.ts';

const statusClasses = ['2xx', '3xx', '4xx', '5xx', 'none'] as const;

/** Metrics of the registry client. */
export type RegistryMetrics = ReturnType<typeof registryMetrics>;

export function registryMetrics(metrics = new MetricsRegistry()) {
  return {
    requests: metrics.counter(
      'lazypull_registry_requests_total',
      'HTTP requests to registries and where they redirect to, by the class of the answer\'s status; "none" if no answer came.',
      { status: statusClasses },
    ),
    receivedBytes: metrics.counter(
      'lazypull_registry_received_bytes_total',
      'Bytes of the bodies of answers from registries.',
    ),
  };
}

/** The class of a status. */
export function statusClass(status: number): (typeof statusClasses)[number] {
  return statusClasses.find((name) => name.startsWith(String(status)[0]!)) ?? 'none';
}
