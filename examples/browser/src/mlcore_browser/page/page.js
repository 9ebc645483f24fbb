// The page: strokes on a canvas, and after each of them what the network reads.

import * as ort from "./ort/ort.wasm.min.mjs";
import { frame, SIZE, softmax } from "./frame.js";

const PEN = 20; // a tenth of a digit's height is about as thick as MNIST's
const paper = document.getElementById("paper");
const shown = document.getElementById("shown");
const answer = document.getElementById("answer");
const chances = document.getElementById("chances");
const status = document.getElementById("status");
const pen = paper.getContext("2d", { willReadFrequently: true });

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // threads would need headers that simple servers do not send

let session, classes;
let asked = 0; // only the answer to the latest question is shown

async function load() {
  const about = await (await fetch("model.json")).json();
  classes = about.classes;
  chances.replaceChildren(...classes.map(line));
  session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
  status.textContent = `Ready: ${about.model}, in this browser. Nothing leaves it.`;
  document.body.dataset.state = "ready";
  await read();
}

function line(name) {
  const item = document.createElement("li");
  item.innerHTML = '<span class="name"></span><span class="bar"><i></i></span><span class="percent"></span>';
  item.querySelector(".name").textContent = name;
  return item;
}

/** What is on the paper, read by the network. */
async function read() {
  const mine = ++asked;
  const framed = frame(ink(), paper.width, paper.height);
  show(framed);
  if (framed === null || session === undefined) return tell(null);
  const image = new ort.Tensor("float32", framed, [1, 1, SIZE, SIZE]);
  const { logits } = await session.run({ image });
  if (mine === asked) tell(Array.from(logits.data), framed);
}

function ink() {
  const pixels = pen.getImageData(0, 0, paper.width, paper.height).data;
  return Float32Array.from({ length: pixels.length / 4 }, (_, at) => (pixels[4 * at] * pixels[4 * at + 3]) / 65025);
}

function tell(logits, framed) {
  const values = logits === null ? [] : softmax(logits);
  const best = values.indexOf(Math.max(...values));
  answer.textContent = best < 0 ? "\u00a0" : classes[best];
  [...chances.children].forEach((item, index) => {
    const percent = values.length ? 100 * values[index] : 0;
    item.querySelector("i").style.width = `${percent}%`;
    item.querySelector(".percent").textContent = values.length ? `${percent.toFixed(1)} %` : "";
  });
  // For tests, and for the curious.
  window.lastReading = logits === null ? null : { answer: classes[best], logits, image: Array.from(framed) };
  document.body.dataset.readings = asked;
}

function show(framed) {
  const picture = new ImageData(SIZE, SIZE);
  for (let at = 0; at < SIZE * SIZE; at++) {
    picture.data.fill(framed === null ? 0 : 255 * framed[at], 4 * at, 4 * at + 3);
    picture.data[4 * at + 3] = 255;
  }
  shown.getContext("2d").putImageData(picture, 0, 0);
}

function place(event) {
  const box = paper.getBoundingClientRect();
  return [((event.clientX - box.left) * paper.width) / box.width, ((event.clientY - box.top) * paper.height) / box.height];
}

let last = null;

function stroke(event) {
  const here = place(event);
  pen.strokeStyle = "#fff";
  pen.lineWidth = PEN;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...(last ?? here));
  pen.lineTo(...here);
  pen.stroke();
  last = here;
}

paper.addEventListener("pointerdown", (event) => {
  paper.setPointerCapture(event.pointerId);
  last = null;
  stroke(event);
});
paper.addEventListener("pointermove", (event) => {
  if (last !== null) stroke(event);
});
for (const end of ["pointerup", "pointercancel"]) {
  paper.addEventListener(end, () => {
    if (last === null) return;
    last = null;
    read();
  });
}
document.getElementById("clear").addEventListener("click", () => {
  pen.clearRect(0, 0, paper.width, paper.height);
  read();
});

load().catch((error) => {
  status.textContent = `The network could not be loaded: ${error.message}`;
  document.body.dataset.state = "failed";
});
