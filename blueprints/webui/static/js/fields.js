// Controls that are made of what the server tells about a member: label, kind, bounds, words.
import { html, useRef, useSignal } from "./lib.js";
import { t } from "./i18n.js";
import { defaultOf, helpOf, kindOf, labelOf, lists, members, stepOf } from "./schema.js";
import { faults, same, set, settings, unset, value } from "./settings.js";
import { Icon } from "./ui.js";

const SOURCES = { base_model_name: "models", refiner_model_name: "models", vae_name: "vaes", preset: "presets", model_name: "loras" };
const NONE = new Set(["refiner_model_name", "model_name"]);

// The words of a choice: the schema's, or those that the server lists; what is set is among them in any case.
export function wordsOf(name, property, chosen) {
  const listed = SOURCES[name] ? lists.value[SOURCES[name]] : property.enum;
  const words = NONE.has(name) ? ["None", ...listed] : [...listed];
  return words.includes(chosen) || chosen === undefined || chosen === null ? words : [chosen, ...words];
}

export const wordOf = (word) => (t(`word.${word}`) === `word.${word}` ? word : t(`word.${word}`));

function faultOf(path) {
  const found = Object.entries(faults.value).find(([name, text]) => text && (name === path || name.startsWith(`${path}.`)));
  return found?.[1];
}

// A label, its control and, beneath, what the server refused.
export function Field({ path, member = path, label, help, changed, onReset, inline, children }) {
  const id = `f-${path}`;
  const fault = faultOf(path);
  const told = useSignal(false);
  return html`<div class="field ${inline ? "inline" : ""} ${fault ? "faulty" : ""}" data-member=${member}>
    <div class="field-head">
      <label for=${id}>${label}</label>
      ${help && html`<button type="button" class="help-button" title=${help} aria-expanded=${told.value} aria-label=${t("help", { name: label })} onClick=${() => (told.value = !told.value)}>?</button>`}
      ${changed && html`<button type="button" class="field-reset" title=${t("reset.one")} aria-label=${`${t("reset.one")}: ${label}`} onClick=${onReset}><${Icon} name="reset" /></button>`}
    </div>
    ${told.value && html`<p class="hint help" id=${`${id}-help`}>${help}</p>`}
    ${children(id, [fault && `${id}-fault`, told.value && `${id}-help`].filter(Boolean).join(" ") || undefined)}
    ${fault && html`<p class="fault" id=${`${id}-fault`}>${fault}</p>`}
  </div>`;
}

// A slider whose track is filled up to its value.
export const Slider = ({ min, max, value: now, ...rest }) => html`<input type="range" ...${{ min, max, ...rest }} value=${now} style=${{ "--filled": `${((now - min) / (max - min)) * 100}%` }} />`;

export function Range({ id, describedBy, property, value: now, onInput, label }) {
  const step = stepOf(property);
  const read = (event) => event.target.value !== "" && onInput(Number(event.target.value));
  return html`<div class="range">
    <${Slider} id=${id} min=${property.minimum} max=${property.maximum} step=${step} value=${now} aria-describedby=${describedBy} onInput=${read} />
    <input type="number" aria-label=${label} min=${property.minimum} max=${property.maximum} step="any" value=${now} onChange=${read} />
  </div>`;
}

function Long({ id, describedBy, value: now, onInput }) {
  return html`<textarea id=${id} rows="2" aria-describedby=${describedBy} value=${now} onInput=${(event) => onInput(event.target.value)}></textarea>`;
}

function Choices({ id, property, value: now, onInput, label }) {
  const toggle = (word) => onInput(now.includes(word) ? now.filter((one) => one !== word) : [...now, word]);
  return html`<div class="chips" role="group" aria-label=${label}>
    ${property.items.enum.map((word, at) => html`<button type="button" id=${at ? undefined : id} class="chip" aria-pressed=${now.includes(word)} onClick=${() => toggle(word)}>${wordOf(word)}</button>`)}
  </div>`;
}

// The control of one member, whatever its kind.
export function Control({ id, describedBy, name, property, value: now, onInput, label }) {
  const kind = name in SOURCES ? "choice" : kindOf(property);
  if (kind === "flag") {
    return html`<input type="checkbox" class="switch" id=${id} checked=${Boolean(now)} aria-describedby=${describedBy} onChange=${(event) => onInput(event.target.checked)} />`;
  }
  if (kind === "choice") {
    return html`<select id=${id} aria-describedby=${describedBy} value=${now} onChange=${(event) => onInput(event.target.value)}>
      ${wordsOf(name, property, now).map((word) => html`<option value=${word} selected=${word === now}>${wordOf(word)}</option>`)}
    </select>`;
  }
  const rest = { id, describedBy, property, value: now, onInput, label };
  if (kind === "choices") return html`<${Choices} ...${rest} />`;
  if (kind === "long") return html`<${Long} ...${rest} />`;
  if (kind === "number" && property.maximum !== undefined) return html`<${Range} ...${rest} />`;
  const number = kind === "number";
  const read = (event) => onInput(number ? Number(event.target.value) : event.target.value);
  return html`<input type=${number ? "number" : "text"} step="any" id=${id} aria-describedby=${describedBy} maxlength=${property.maxLength} value=${now ?? ""} onChange=${read} />`;
}

// A member of the request with everything around it.
export function Member({ name }) {
  const property = members.value[name];
  if (!property) return null;
  const label = labelOf(name);
  const flag = kindOf(property) === "flag";
  const changed = name in settings.value && !same(settings.value[name], defaultOf(name));
  return html`<${Field} path=${name} label=${label} help=${helpOf(name)} changed=${changed} onReset=${() => unset(name)} inline=${flag}>
    ${(id, describedBy) => html`<${Control} id=${id} describedBy=${describedBy} name=${name} property=${property} value=${value(name)} label=${label} onInput=${(wanted) => set(name, wanted)} />`}
  </${Field}>`;
}

export const Members = ({ names }) => names.map((name) => html`<${Member} key=${name} name=${name} />`);

export function useFile(accept, onFiles) {
  const input = useRef();
  const read = (event) => {
    onFiles([...event.target.files]);
    event.target.value = "";
  };
  const element = html`<input type="file" hidden ref=${input} accept=${accept} onChange=${read} />`;
  return [element, () => input.current.click()];
}
