// A mask painted over a picture: strokes that can be taken back, on a base that a tool found or a reload brought back.
const LONGEST = 2048; // of the mask's sides; the server scales it to the picture

export class Mask {
  constructor(canvas, color, changed) {
    this.canvas = canvas;
    this.color = color;
    this.changed = changed;
    this.strokes = [];
    this.base = null;
  }

  resize(width, height) {
    const scale = Math.min(1, LONGEST / Math.max(width, height));
    this.canvas.width = Math.max(1, Math.round(width * scale));
    this.canvas.height = Math.max(1, Math.round(height * scale));
    this.draw();
  }

  // Begin from a mask in black and white, null: from nothing.
  async load(url) {
    this.strokes = [];
    this.base = url ? await this.opaqueWhereLight(url) : null;
    this.draw();
  }

  async opaqueWhereLight(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    const made = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    const pen = made.getContext("2d");
    pen.drawImage(image, 0, 0, made.width, made.height);
    const pixels = pen.getImageData(0, 0, made.width, made.height);
    for (let at = 0; at < pixels.data.length; at += 4) pixels.data[at + 3] = pixels.data[at];
    pen.putImageData(pixels, 0, 0);
    return made;
  }

  paintIn(color) {
    this.color = color;
    this.draw();
  }

  begin(point, size, erase) {
    this.strokes.push({ points: [point], size, erase });
    this.paint(this.strokes.at(-1));
  }

  extend(point) {
    const stroke = this.strokes.at(-1);
    stroke.points.push(point);
    this.paint({ ...stroke, points: stroke.points.slice(-2) });
  }

  end() {
    this.changed(this.url());
  }

  undo() {
    if (!this.strokes.length) return;
    const { clear, base } = this.strokes.pop();
    if (clear) this.base = base;
    this.draw();
    this.end();
  }

  clear() {
    this.strokes.push({ clear: true, points: [], base: this.base });
    this.base = null;
    this.draw();
    this.end();
  }

  paint({ points, size, erase }) {
    const pen = this.canvas.getContext("2d");
    pen.globalCompositeOperation = erase ? "destination-out" : "source-over";
    pen.strokeStyle = this.color;
    pen.lineWidth = size;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...points[0]);
    if (points.length === 1) pen.lineTo(points[0][0] + 0.01, points[0][1]);
    points.slice(1).forEach((point) => pen.lineTo(...point));
    pen.stroke();
    pen.globalCompositeOperation = "source-over";
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.base) {
      pen.drawImage(this.base, 0, 0, this.canvas.width, this.canvas.height);
      pen.globalCompositeOperation = "source-in";
      pen.fillStyle = this.color;
      pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
      pen.globalCompositeOperation = "source-over";
    }
    const since = this.strokes.findLastIndex((stroke) => stroke.clear) + 1;
    this.strokes.slice(since).forEach((stroke) => this.paint(stroke));
  }

  isEmpty() {
    const { width, height } = this.canvas;
    const pixels = this.canvas.getContext("2d").getImageData(0, 0, width, height).data;
    for (let at = 3; at < pixels.length; at += 4) if (pixels[at] > 127) return false;
    return true;
  }

  // White where it is painted, black elsewhere, as the API wants it; null where nothing is.
  url() {
    if (this.isEmpty()) return null;
    const made = document.createElement("canvas");
    [made.width, made.height] = [this.canvas.width, this.canvas.height];
    const pen = made.getContext("2d");
    pen.drawImage(this.canvas, 0, 0);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, made.width, made.height);
    pen.globalCompositeOperation = "destination-over";
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, made.width, made.height);
    return made.toDataURL("image/png");
  }
}
