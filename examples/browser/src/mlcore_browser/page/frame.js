// From a drawing to what the network was trained on: MNIST's digits are fitted into 20x20 pixels, and their centre of
// mass lies in the middle of 28x28. mlcore_vision.reading.frame_mnist does the same. No browser is needed here.

export const SIZE = 28;
const FITTED = 20;
const FAINTEST = 0.3; // less is the soft edge of a stroke, and no reason to widen the box

/** The ink (values 0..1, row by row) framed as an MNIST digit, or null where there is none. */
export function frame(ink, width, height) {
  const box = bounds(ink, width, height);
  if (box === null) return null;
  const factor = FITTED / Math.max(box.width, box.height);
  const wide = Math.max(1, Math.round(box.width * factor));
  const high = Math.max(1, Math.round(box.height * factor));
  const small = shrink(ink, width, box, wide, high);
  let total = 0, across = 0, down = 0;
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const value = small[y * wide + x];
      total += value;
      across += value * x;
      down += value * y;
    }
  }
  const left = clamp(Math.round((SIZE - 1) / 2 - across / total), 0, SIZE - wide);
  const top = clamp(Math.round((SIZE - 1) / 2 - down / total), 0, SIZE - high);
  const framed = new Float32Array(SIZE * SIZE);
  for (let y = 0; y < high; y++) {
    framed.set(small.subarray(y * wide, (y + 1) * wide), (top + y) * SIZE + left);
  }
  return framed;
}

/** Probabilities from logits. */
export function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

function bounds(ink, width, height) {
  let left = width, right = -1, top = height, bottom = -1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] < FAINTEST) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** The mean ink below each pixel of the small picture; pixels that lie in two of them count in part. */
function shrink(ink, width, box, wide, high) {
  const small = new Float32Array(wide * high);
  const stepX = box.width / wide, stepY = box.height / high;
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      let sum = 0;
      const fromY = y * stepY, toY = fromY + stepY, fromX = x * stepX, toX = fromX + stepX;
      for (let j = Math.floor(fromY); j < toY; j++) {
        const tall = Math.min(j + 1, toY) - Math.max(j, fromY);
        for (let i = Math.floor(fromX); i < toX; i++) {
          const broad = Math.min(i + 1, toX) - Math.max(i, fromX);
          const inside = j < box.height && i < box.width;
          sum += inside ? tall * broad * ink[(box.top + j) * width + box.left + i] : 0;
        }
      }
      small[y * wide + x] = sum / (stepX * stepY);
    }
  }
  return small;
}
