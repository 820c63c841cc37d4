/**
 * A client that asks for one layer: `node dying-client.ts SOCKET REFERENCE LAYER`, the layer as JSON. A test kills it
 * before it gets the answer.
 */
import { type ImageLayer, SnapshotsClient } from './snapshots-client.ts';

const [socket, reference, layer] = process.argv.slice(2);
const described = JSON.parse(layer!) as ImageLayer;
using client = new SnapshotsClient(socket!);
await client.prepareImage(`dying-${described.digest}`, reference!, [described]);
