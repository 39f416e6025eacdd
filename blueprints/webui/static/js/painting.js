// The board on which a mask is painted: mouse, pen and touch; two fingers or the wheel with Ctrl zoom and move.
import { html, signal, useLayoutEffect, useRef } from "./lib.js";
import { t } from "./i18n.js";
import { Mask } from "./brush.js";
import { Slider } from "./fields.js";
import { pictures, setPicture } from "./settings.js";
import { stored } from "./storage.js";
import { IconButton } from "./ui.js";

export const brush = signal({ size: 60, erase: false, zoom: 1, ratio: 1 });
const color = stored("brushColor", "#ff3d8b");
const TALLEST = "54dvh"; // of a picture that is not zoomed into
let mask = null;

const tell = (more) => (brush.value = { ...brush.value, ...more });
const zoomBy = (factor) => tell({ zoom: Math.max(1, Math.min(8, brush.value.zoom * factor)) });

let held = null; // the place of the picture that stays under the fingers while it grows

// Zoom, and keep what is at this point of the window there.
function zoomAt(factor, x, y) {
  const box = mask.canvas.getBoundingClientRect();
  held = { x, y, across: (x - box.left) / box.width, down: (y - box.top) / box.height };
  zoomBy(factor);
}

function scrollToHeld(board) {
  if (!held || !mask) return;
  const box = mask.canvas.getBoundingClientRect();
  board.scrollLeft += box.left + held.across * box.width - held.x;
  board.scrollTop += box.top + held.down * box.height - held.y;
  held = null;
}

// Put a mask that a tool found onto the board.
export async function putMask(url) {
  setPicture("mask", url);
  await mask?.load(url);
}

function paintIn(wanted) {
  color.value = wanted;
  mask?.paintIn(wanted);
}

function Tools() {
  const { size, erase, zoom } = brush.value;
  return html`<div class="row wrap brush-tools" role="toolbar" aria-label=${t("brush")}>
    <label class="brush-size">${t("brush.size")}<${Slider} min="4" max="300" value=${size} onInput=${(event) => tell({ size: Number(event.target.value) })} /></label>
    <input type="color" class="brush-color" title=${t("brush.color")} aria-label=${t("brush.color")} value=${color.value} onInput=${(event) => paintIn(event.target.value)} />
    <button type="button" aria-pressed=${!erase} onClick=${() => tell({ erase: false })}>${t("brush.paint")}</button>
    <button type="button" aria-pressed=${erase} onClick=${() => tell({ erase: true })}>${t("brush.erase")}</button>
    <${IconButton} icon="undo" label=${t("undo")} onClick=${() => mask?.undo()} />
    <button type="button" onClick=${() => mask?.clear()}>${t("brush.clear")}</button>
    <span class="zoom"><button type="button" aria-label=${t("zoom.out")} disabled=${zoom <= 1} onClick=${() => zoomBy(1 / 1.5)}>−</button><span>${Math.round(zoom * 100)}%</span><button type="button" aria-label=${t("zoom.in")} onClick=${() => zoomBy(1.5)}>+</button></span>
  </div>`;
}

// Follows fingers, pen or mouse: one paints, two move and zoom.
class Hand {
  constructor(board) {
    this.board = board;
    this.pointers = new Map();
    this.painting = false;
  }

  place(event) {
    const box = mask.canvas.getBoundingClientRect();
    const scale = mask.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  down(event) {
    if (event.button === 1) return this.pointers.set(event.pointerId, event).set("pan", event);
    this.pointers.set(event.pointerId, event);
    event.target.setPointerCapture(event.pointerId);
    if (this.pointers.size > 1) {
      if (this.painting) mask.undo();
      this.painting = false;
      return undefined;
    }
    this.painting = true;
    const scale = mask.canvas.width / mask.canvas.getBoundingClientRect().width;
    mask.begin(this.place(event), brush.value.size * scale * brush.value.zoom * 0.5, brush.value.erase || event.buttons === 32);
    return undefined;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (this.painting) event.getCoalescedEvents().concat(event).forEach((one) => mask.extend(this.place(one)));
    else this.pan(before, event);
    this.pointers.set(event.pointerId, event);
  }

  // With two fingers the picture follows the point between them, which each moves by half.
  pan(before, event) {
    const other = [...this.pointers.values()].find((one) => one.pointerId !== event.pointerId);
    const share = other ? 2 : 1;
    this.board.scrollLeft -= (event.clientX - before.clientX) / share;
    this.board.scrollTop -= (event.clientY - before.clientY) / share;
    if (!other) return;
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    if (apart(before) > 10) zoomAt(apart(event) / apart(before), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.pointers.delete("pan");
    if (this.painting) mask.end();
    this.painting = false;
  }
}

export function Board({ picture }) {
  const board = useRef();
  const canvas = useRef();
  const image = useRef();
  const loaded = () => {
    const { naturalWidth: width, naturalHeight: height } = image.current;
    tell({ ratio: width / height, zoom: 1 });
    mask.resize(width, height);
    mask.load(pictures.value.mask);
  };
  useLayoutEffect(() => {
    mask = new Mask(canvas.current, color.value, (url) => setPicture("mask", url));
    const hand = new Hand(board.current);
    const on = (name, work) => canvas.current.addEventListener(name, work);
    on("pointerdown", (event) => hand.down(event));
    on("pointermove", (event) => hand.move(event));
    on("pointerup", (event) => hand.up(event));
    on("pointercancel", (event) => hand.up(event));
    const wheel = (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoomAt(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX, event.clientY);
    };
    board.current.addEventListener("wheel", wheel, { passive: false });
    if (image.current.complete) loaded();
    return () => (mask = null);
  }, []);
  useLayoutEffect(() => scrollToHeld(board.current), [brush.value.zoom]);
  return html`<${Tools} />
    <div class="board" ref=${board} tabindex="0" role="group" aria-label=${t("board")}>
      <div class="board-inside" style=${{ width: `calc(min(100%, ${TALLEST} * ${brush.value.ratio}) * ${brush.value.zoom})` }}>
        <img ref=${image} src=${picture} alt=${t("slot.inpaint")} onLoad=${loaded} draggable=${false} />
        <canvas ref=${canvas} id="mask" aria-hidden="true"></canvas>
      </div>
    </div>`;
}
