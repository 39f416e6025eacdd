// What every module of the page is written with: Preact, htm, signals.
import { h, render } from "../vendor/preact.js";
import htm from "../vendor/htm.js";

export { render };
export { batch, computed, effect, signal, useSignal } from "../vendor/signals.js";
export { useEffect, useLayoutEffect, useRef } from "../vendor/hooks.js";
export const html = htm.bind(h);
