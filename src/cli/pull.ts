import { defaults } from '../config/load.ts';
import type { Platform } from '../images/platforms.ts';
import { resolveImage } from '../images/resolve.ts';
import type { Reference } from '../registry/reference.ts';
import { jsonLine } from '../util/printable.ts';
import type { Environment } from './environment.ts';
import { PullProgress } from './pull-progress.ts';
import { painter } from '../util/colour.ts';
import { imageArgument, openRegistry, platformOption } from './registry.ts';
import { CliCommand } from './command.ts';
import { printText } from './output.ts';

interface Options {
  address?: string;
  namespace?: string;
  snapshotter: string;
  platform?: Platform;
  config?: string;
  json?: boolean;
}

const standard = { address: '/run/containerd/containerd.sock', namespace: 'default' };

/** `lazypull pull IMAGE`: brings an image into containerd, without its layers. */
export function pullCommand({ env, name }: Environment): CliCommand {
  return new CliCommand('pull')
    .description('Give containerd an image with all its layers lazy, so that it can run at once')
    .argument('<image>', 'image as Docker writes it', imageArgument)
    .option('--address <path>', `socket of containerd (default: CONTAINERD_ADDRESS, else ${standard.address})`)
    .option('--namespace <name>', `namespace of containerd (default: CONTAINERD_NAMESPACE, else ${standard.namespace})`)
    .option('--snapshotter <name>', 'name of the proxy plugin of lazypull in the configuration of containerd', 'stargz')
    .addOption(platformOption())
    .option('--config <file>', `config.toml with mirrors (default: ${defaults.config}, which may be missing)`)
    .option('--json', 'print events as JSON, one a line: a layer each, and the image')
    .explain(
      `containerd must have the snapshotter, which "lazypull setup containerd" configures, and its daemon must run. Layers
without an index are pulled by the daemon. If it leaves one to containerd, that is an error: the layers below it are
kept for a day, and "ctr images pull --snapshotter stargz" pulls the rest.`,
      [
        'lazypull pull registry.example/app:1 && ctr run --rm --snapshotter stargz registry.example/app:1 app',
        'lazypull pull --namespace k8s.io registry.example/app:1',
      ],
    )
    .action(async (reference: Reference, options: Options) => {
      const { ContainerdClient } = await import('../containerd/containerd-client.ts');
      const { pullImage } = await import('../containerd/pull.ts');
      const { Formats } = await import('../formats/index.ts');
      const { isPlainLayer } = await import('../image-reader/layer-errors.ts');
      const address = (options.address ?? (env.CONTAINERD_ADDRESS || standard.address)).replace(/^unix:\/\//, '');
      const namespace = options.namespace ?? (env.CONTAINERD_NAMESPACE || standard.namespace);
      const event = (kind: string, more: object) => {
        if (options.json === true) printText(jsonLine({ event: kind, ...more }));
      };
      await using client = await openRegistry(options.config, env);
      using containerd = new ContainerdClient(address, namespace);
      const image = await resolveImage(client, reference, options.platform);
      const paint = painter(process.stderr, env);
      const formats = new Formats();
      const layers = image.manifest.layers.map((layer) => ({ ...layer, hasToc: !isPlainLayer(layer, formats) }));
      const lazy = new Set(layers.filter(({ hasToc }) => hasToc).map((layer) => layer.digest));
      using progress = new PullProgress(process.stderr, env, layers, name);
      const pulled = await pullImage({
        containerd,
        client,
        image,
        snapshotter: options.snapshotter,
        onStart: ({ digest }) => progress.onStart(digest),
        onLayer(layer) {
          event('layer', layer);
          if (options.json === true) progress.onDone(layer.digest);
          else {
            const what = lazy.has(layer.digest) ? 'is lazy' : 'is there';
            progress.onDone(layer.digest, layer.wasThere ? 'was there' : paint('good', what));
          }
        },
      });
      const { digest } = image.documents[0]!;
      event('image', { name: pulled, digest });
      if (options.json !== true) progress.finish();
      if (options.json !== true) printText(`${pulled}@${digest}\n`);
    });
}
