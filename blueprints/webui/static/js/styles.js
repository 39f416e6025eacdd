// The prompt styles: names and samples with a search; those that are chosen stand first, in the order in which they are applied.
import { html, useEffect, useSignal } from "./lib.js";
import { t } from "./i18n.js";
import { Field } from "./fields.js";
import { Sample, loadSamples } from "./samples.js";
import { helpOf, labelOf, lists } from "./schema.js";
import { set, settings, unset, value } from "./settings.js";

const NAME = "style_selections";

function Style({ name, chosen, onToggle }) {
  return html`<label class="style ${chosen ? "chosen" : ""}"><${Sample} name=${name} /><input type="checkbox" checked=${chosen} onChange=${onToggle} /><span class="style-name">${name}</span></label>`;
}

export function Styles() {
  const wanted = useSignal("");
  useEffect(() => {
    loadSamples();
  }, []);
  const chosen = value(NAME) ?? [];
  const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (name) => words.every((word) => name.toLowerCase().includes(word));
  const others = lists.value.styles.filter((name) => !chosen.includes(name) && fits(name));
  const toggle = (name) => set(NAME, chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]);
  const row = (name) => html`<${Style} key=${name} name=${name} chosen=${chosen.includes(name)} onToggle=${() => toggle(name)} />`;
  return html`<${Field} path=${NAME} label=${t("styles.search")} help=${helpOf(NAME)} changed=${NAME in settings.value} onReset=${() => unset(NAME)}>
    ${(id, describedBy) => html`<input type="search" id=${id} aria-describedby=${describedBy} value=${wanted.value} placeholder=${t("styles.placeholder", { n: lists.value.styles.length })} onInput=${(event) => (wanted.value = event.target.value)} />
      <div class="row"><span class="hint grow">${t("styles.chosen", { n: chosen.length })}</span><button type="button" disabled=${!chosen.length} onClick=${() => set(NAME, [])}>${t("styles.none")}</button></div>
      <div class="style-list" role="group" aria-label=${labelOf(NAME)}>${chosen.filter(fits).map(row)}${others.map(row)}</div>
      ${!others.length && !chosen.some(fits) && html`<p class="hint">${t("nothing.found")}</p>`}`}
  </${Field}>`;
}
