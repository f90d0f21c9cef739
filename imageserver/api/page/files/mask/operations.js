// What was done to a mask, in order: strokes, rectangles and inversions, which can be undone and done again.

/**
 * The area to regenerate, as operations in pixels of the image; the image may have margins around it.
 *
 * A stroke is `{kind: "stroke", erase, points: [{x, y, radius}]}`, a rectangle
 * `{kind: "rectangle", erase, x, y, width, height}`, and `{kind: "invert"}` and `{kind: "clear"}` are for the whole mask.
 */
export class MaskOperations {
  #done = [];
  #undone = [];

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  add(operation) {
    this.#done.push(operation);
    this.#undone = [];
  }

  undo() {
    if (this.canUndo) this.#undone.push(this.#done.pop());
  }

  redo() {
    if (this.canRedo) this.#done.push(this.#undone.pop());
  }

  /** Show all operations on a canvas whose opaque pixels are the mask; the margins are always regenerated. */
  render(context, margins, image) {
    const { width, height } = context.canvas;
    context.clearRect(0, 0, width, height);
    for (const operation of this.#done) apply(context, operation, margins);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, margins.top);
    context.fillRect(0, margins.top + image.height, width, margins.bottom);
    context.fillRect(0, 0, margins.left, height);
    context.fillRect(margins.left + image.width, 0, margins.right, height);
  }
}

/** Add one operation to a canvas. */
export function apply(context, operation, { left, top }) {
  context.save();
  context.fillStyle = context.strokeStyle = "white";
  const { width, height } = context.canvas;
  if (operation.kind === "clear") {
    context.clearRect(0, 0, width, height);
  } else if (operation.kind === "invert") {
    context.globalCompositeOperation = "source-out";
    context.fillRect(0, 0, width, height);
  } else {
    context.globalCompositeOperation = operation.erase ? "destination-out" : "source-over";
    context.translate(left, top);
    if (operation.kind === "stroke") followStroke(context, operation.points);
    else context.fillRect(operation.x, operation.y, operation.width, operation.height);
  }
  context.restore();
}

function followStroke(context, points) {
  context.lineCap = "round";
  points.forEach((point, index) => {
    const last = points[Math.max(0, index - 1)];
    context.lineWidth = 2 * point.radius;
    context.beginPath();
    context.moveTo(last.x, last.y);
    // A line without a length shows nothing, not even its ends.
    context.lineTo(point.x + (last === point ? 0.01 : 0), point.y);
    context.stroke();
  });
}
