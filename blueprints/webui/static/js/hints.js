// What a prompt may name besides words: LoRAs, wildcards, embeddings, styles of arrays; offered while one types.
import { effect, html, signal } from "./lib.js";
import { t } from "./i18n.js";
import { lists } from "./schema.js";
import { set } from "./settings.js";

export const suggestions = signal([]); // { text, chosen }
const MOST = 8;
let from = 0;

const stem = (file) => file.replace(/\.[^./]+$/, "");

// Each opening, and the whole texts that it can become.
const OPENINGS = [
  [/<lora:([^<>:]*)$/, () => lists.value.loras.map((file) => `<lora:${stem(file)}:1>`)],
  [/<$/, () => lists.value.loras.map((file) => `<lora:${stem(file)}:1>`)],
  [/__([\w\-/]*)$/, () => lists.value.wildcards.map((name) => `__${name}__`)],
  [/\(?embedding:([^\s():]*)$/, () => lists.value.embeddings.map((file) => `(embedding:${stem(file)}:1.0)`)],
  [/\[\[[^\]]*$/, () => [t("hint.array")]],
];

// Look at what stands before the caret.
export function suggest(area) {
  const before = area.value.slice(0, area.selectionStart);
  for (const [pattern, offered] of OPENINGS) {
    const found = pattern.exec(before);
    if (!found) continue;
    from = found.index;
    const wanted = (found[1] ?? "").toLowerCase();
    const fitting = offered().filter((text) => text.toLowerCase().includes(wanted));
    suggestions.value = fitting.slice(0, MOST).map((text, at) => ({ text, chosen: at === 0 }));
    return;
  }
  suggestions.value = [];
}

// The lists may come while somebody types already.
effect(() => {
  const area = document.activeElement;
  if (lists.value.loras && area?.id === "prompt") suggest(area);
});

export function accept(area, at) {
  const chosen = suggestions.value[at];
  suggestions.value = [];
  if (!chosen) return;
  area.setRangeText(chosen.text, from, area.selectionStart, "end");
  set("prompt", area.value);
  area.focus();
}

export function moveChoice(event, area) {
  const now = suggestions.value.findIndex((one) => one.chosen);
  const count = suggestions.value.length;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === "Escape") suggestions.value = [];
  else if (event.key === "Tab" || event.key === "Enter") accept(area, now);
  else if (step) suggestions.value = suggestions.value.map((one, at) => ({ ...one, chosen: at === (now + step + count) % count }));
  else return;
  event.preventDefault();
}

export function Suggestions({ onChoose }) {
  return html`<ul id="suggestions" role="listbox" aria-label=${t("hints")} class="suggestions" hidden=${!suggestions.value.length}>
    ${suggestions.value.map(
      (one, at) => html`<li key=${one.text} id=${`suggestion-${at}`} role="option" aria-selected=${one.chosen} onMouseDown=${(event) => (event.preventDefault(), onChoose(at))}>${one.text}</li>`,
    )}
  </ul>`;
}
