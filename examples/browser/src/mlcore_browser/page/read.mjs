// The same network and the same framing in Node: `node read.mjs FILE.json` reads {"images": [[784 numbers], ...]} or
// {"drawings": [{"ink": [numbers], "width": w, "height": h}, ...]}, and prints the answers, the logits and what the
// network was shown.

import { readFile } from "node:fs/promises";
import { frame, SIZE } from "./frame.js";
import * as ort from "./ort/ort.wasm.min.mjs";

const here = (name) => new URL(name, import.meta.url);
ort.env.wasm.numThreads = 1;
// Node's fetch knows no files.
ort.env.wasm.wasmBinary = await readFile(here("./ort/ort-wasm-simd-threaded.wasm"));

const { classes } = JSON.parse(await readFile(here("./model.json"), "utf8"));
const session = await ort.InferenceSession.create(await readFile(here("./model.onnx")));
const given = JSON.parse(await readFile(process.argv[2], "utf8"));
const framed = ({ ink, width, height }) => Array.from(frame(Float32Array.from(ink), width, height));
const images = given.images ?? given.drawings.map(framed);
const image = new ort.Tensor("float32", Float32Array.from(images.flat()), [images.length, 1, SIZE, SIZE]);
const { logits } = await session.run({ image });
const rows = images.map((_, at) => Array.from(logits.data.slice(at * classes.length, (at + 1) * classes.length)));
const answers = rows.map((row) => classes[row.indexOf(Math.max(...row))]);
console.log(JSON.stringify({ answers, logits: rows, images }));
