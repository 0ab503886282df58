// node uff_netron.mjs FOLDER FILE: opens FILE with the UFF reader of netron, whose modules are in
// FOLDER, and prints the graph as JSON.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, file] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(path.join(folder, name)).href);
await load('base.js'); // adds methods to numbers that the readers call
const uff = await load('uff.js');
const protobuf = await load('protobuf.js');
const bytes = new Uint8Array(fs.readFileSync(file));
const open = (binary) => (binary ? protobuf.BinaryReader : protobuf.TextReader).open(bytes);

const context = {
    identifier: path.basename(file),
    tags: (kind) => open(kind === 'pb').signature(),
    set(type) {
        this.type = type;
        return type;
    },
    require: (name) => load(`${name}.js`),
    read: (kind) => open(kind === 'protobuf.binary'),
    metadata: (name) => {
        const types = JSON.parse(fs.readFileSync(path.join(folder, name)));
        return { type: (name) => types.find((each) => each.name === name) };
    },
    stream: {
        length: bytes.length, position: 0, peek: () => bytes, read: () => bytes, seek() {}, skip() {}
    }
};

const factory = new uff.ModelFactory();
const type = await factory.match(context);
if (!type) {
    throw new Error(`netron does not recognise ${file} as UFF`);
}
const model = await factory.open(context);
const [graph] = model.modules;
const made = new Set(graph.inputs.map((each) => each.name));
graph.nodes.forEach((node) => made.add(node.name));
const dangling = [];
const constants = new Map();
for (const node of graph.nodes) {
    for (const argument of node.inputs) {
        for (const value of argument.value) {
            if (!value || !(value.initializer || made.has(value.name))) {
                dangling.push(`${node.name} <- ${value ? value.name : argument.name}`);
            } else if (value.initializer) {
                constants.set(value.name, value.initializer.type.toString());
            }
        }
    }
}
console.log(JSON.stringify({
    type,
    format: model.format,
    imports: model.imports,
    inputs: graph.inputs.map((each) => [each.name, each.value[0].type.toString()]),
    outputs: graph.outputs.map((each) => [each.name, each.value[0].name]),
    nodes: graph.nodes.map((each) => [each.name, each.type.name]),
    constants: Object.fromEntries(constants),
    dangling
}));
