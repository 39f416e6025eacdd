// Performance, size, number, format, negative prompt, seed.
import { html } from "./lib.js";
import { t } from "./i18n.js";
import { Field, Member } from "./fields.js";
import { helpOf, labelOf, lists, members } from "./schema.js";
import { seedLocked, set, settings, unset, value } from "./settings.js";
import { shown } from "./tasks.js";
import { IconButton } from "./ui.js";

function Performance() {
  const name = "performance_selection";
  const now = value(name);
  const steps = Object.fromEntries(lists.value.performances.map((one) => [one.name, one.steps]));
  return html`<${Field} path=${name} label=${labelOf(name)} help=${helpOf(name)} changed=${name in settings.value} onReset=${() => unset(name)}>
    ${(id) => html`<div class="chips" role="group" aria-label=${labelOf(name)}>
      ${(members.value[name]?.enum ?? []).map(
        (word, at) => html`<button type="button" id=${at ? undefined : id} class="chip" aria-pressed=${word === now} title=${steps[word] ? t("steps.n", { n: steps[word] }) : undefined} onClick=${() => set(name, word)}>${word}</button>`,
      )}
    </div>`}
  </${Field}>`;
}

const sides = (size) => String(size).split(/[*×x]/).map(Number);
const divisor = (one, other) => (other ? divisor(other, one % other) : one);

function nameOfRatio(width, height) {
  const by = divisor(width, height);
  return `${width / by}:${height / by}`;
}

function Shape({ size, chosen, id }) {
  const [width, height] = sides(size);
  const scale = 30 / Math.max(width, height);
  return html`<button type="button" id=${id} class="shape" aria-pressed=${chosen} aria-label=${`${width} × ${height}, ${nameOfRatio(width, height)}`} onClick=${() => set("aspect_ratios_selection", size)}>
    <span class="shape-box"><span class="shape-drawn" style=${{ width: `${width * scale}px`, height: `${height * scale}px` }}></span></span>
    <span class="shape-name">${width}×${height}</span>
  </button>`;
}

function Size() {
  const name = "aspect_ratios_selection";
  const now = value(name);
  const [width, height] = sides(now);
  const sizes = lists.value.sizes.length ? lists.value.sizes : (members.value[name]?.examples ?? []);
  const change = (one, other) => set(name, `${one}*${other}`);
  const Side = ({ label, now: side, onSide }) => html`<label>${label}<input type="number" min="64" max="2048" step="8" value=${side} onChange=${(event) => onSide(Number(event.target.value))} /></label>`;
  return html`<${Field} path=${name} label=${labelOf(name)} help=${helpOf(name)} changed=${name in settings.value} onReset=${() => unset(name)}>
    ${(id) => html`<div class="shapes" role="group" aria-label=${labelOf(name)} tabindex="-1">
        ${sizes.map((size, at) => html`<${Shape} key=${size} id=${at ? undefined : id} size=${size} chosen=${sides(size).join() === sides(now).join()} />`)}
      </div>
      <div class="row sides"><${Side} label=${t("width")} now=${width} onSide=${(side) => change(side, height)} /><span aria-hidden="true">×</span><${Side} label=${t("height")} now=${height} onSide=${(side) => change(width, side)} />
        <button type="button" onClick=${() => change(height, width)}>${t("swap")}</button></div>`}
  </${Field}>`;
}

function Seed() {
  const name = "image_seed";
  const given = settings.value[name];
  const random = given === undefined || String(given) === "-1";
  const last = shown.value?.seed;
  const lock = () => {
    seedLocked.value = !seedLocked.value;
    if (!seedLocked.value) unset(name);
    else if (random && last) set(name, last);
  };
  const typed = (event) => (event.target.value.trim() ? set(name, event.target.value.trim()) : unset(name));
  return html`<${Field} path=${name} label=${labelOf(name)} help=${helpOf(name)} changed=${!random} onReset=${() => unset(name)}>
    ${(id, describedBy) => html`<div class="row">
      <input type="text" inputmode="numeric" id=${id} aria-describedby=${describedBy} placeholder=${t("seed.random")} value=${random ? "" : given} onChange=${typed} />
      <${IconButton} icon=${seedLocked.value ? "lock" : "unlock"} label=${t(seedLocked.value ? "seed.locked" : "seed.lock")} aria-pressed=${seedLocked.value} onClick=${lock} />
      <${IconButton} icon="again" label=${t("seed.reuse")} disabled=${!last} onClick=${() => set(name, last)} />
    </div>`}
  </${Field}>`;
}

export const Basics = () => html`<${Performance} /><${Size} /><${Member} name="image_number" /><${Member} name="output_format" /><${Member} name="output_quality" /><${Member} name="negative_prompt" /><${Seed} />`;
