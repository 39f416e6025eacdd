// Where each style's sample picture stands in the sprite of its group, which a browser fetches once one of it is in view.
import { computed, html, signal } from "./lib.js";

const FOLDER = new URL("../styles/", import.meta.url);
const index = signal(null); // { columns, groups: { group: [names] } }
let asked = false;

export async function loadSamples() {
  if (asked) return;
  asked = true;
  const answer = await fetch(new URL("index.json", FOLDER)).catch(() => null);
  if (answer?.ok) index.value = await answer.json();
  else asked = false;
}

const percent = (at, of) => `${of > 1 ? (at / (of - 1)) * 100 : 0}%`;

const places = computed(() => {
  const { columns, groups } = index.value ?? { columns: 1, groups: {} };
  const found = Object.create(null); // which has no names of its own, whatever a style is called
  for (const [group, names] of Object.entries(groups)) {
    const rows = Math.ceil(names.length / columns);
    names.forEach((name, at) => {
      found[name] = {
        backgroundImage: `url("${new URL(`${group}.webp`, FOLDER)}")`,
        backgroundSize: `${columns * 100}% ${rows * 100}%`,
        backgroundPosition: `${percent(at % columns, columns)} ${percent(Math.floor(at / columns), rows)}`,
      };
    });
  }
  return found;
});

// A style's sample; of one that somebody made, its first letter.
export function Sample({ name }) {
  const place = places.value[name];
  return html`<span class="sample" style=${place ?? {}} aria-hidden="true">${index.value && !place ? [...name][0] : ""}</span>`;
}
