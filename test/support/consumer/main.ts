import {
  convertImage,
  type Image,
  type ImageFile,
  inspectImage,
  LazypullError,
  type LayerProgress,
  openImage,
  openRegistry,
} from 'lazypull';

// What this program has of Node, so that the types of the library are seen to need no more.
declare const process: { readonly argv: string[]; readonly stdout: { write(text: string): void } };

const [source = '', target = ''] = process.argv.slice(2);
const progress: LayerProgress[] = [];

await using registry = await openRegistry({ logins: 'docker', certificates: [] });
const { digest, isLazy } = await convertImage(registry, source, target, {
  onLayer: (layer) => progress.push(layer),
});
const image: Image = await openImage(registry, target);
const etc: ImageFile[] = image.list('/etc');
const decoder = new TextDecoder();
let content = '';
for await (const piece of image.read('/etc/passwd')) content += decoder.decode(piece, { stream: true });
const { layers } = await inspectImage(registry, source);
let code = '';
try {
  image.find('/no/such/file');
} catch (error) {
  if (error instanceof LazypullError) code = error.code;
}
const formats = layers.map(({ format }) => format);
process.stdout.write(JSON.stringify({ digest, isLazy, formats, etc: etc.map(({ path }) => path), content, code }));
