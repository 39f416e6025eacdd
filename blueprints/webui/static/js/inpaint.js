// Inpaint and outpaint: the picture with its mask, what to draw there, and the sides on which it grows.
import { html, signal } from "./lib.js";
import { call } from "./api.js";
import { t } from "./i18n.js";
import { Control, Field, Member, useFile } from "./fields.js";
import { Board, putMask } from "./painting.js";
import { PictureSlot, asDataUrl } from "./picture.js";
import { DETAILS, PARTS, QuickList } from "./quick.js";
import { helpOf, kindOf, labelOf, propertiesOf } from "./schema.js";
import { pictures, same, set, settings, unset, value } from "./settings.js";
import { notice } from "./ui.js";

// Fooocus's three ways to inpaint, as the members that they set.
const MODES = {
  fill: {},
  detail: { inpaint_engine: "None", inpaint_strength: 0.5, inpaint_respective_field: 0 },
  modify: { inpaint_disable_initial_latent: true, inpaint_strength: 1, inpaint_respective_field: 0 },
};
const SET = ["inpaint_engine", "inpaint_strength", "inpaint_respective_field", "inpaint_disable_initial_latent"];
const finding = signal({ mask_model: "isnet-general-use" });
const busy = signal(false);


function Mode() {
  const now = Object.keys(MODES).find((name) => SET.every((member) => same(settings.value[member], MODES[name][member]))) ?? "";
  const choose = (event) => {
    unset(...SET);
    Object.entries(MODES[event.target.value] ?? {}).forEach(([member, wanted]) => set(member, wanted));
  };
  return html`<div class="field"><label for="inpaint-mode">${t("inpaint.mode")}</label>
    <select id="inpaint-mode" value=${now} onChange=${choose}>${now === "" && html`<option value="" selected>${t("inpaint.own")}</option>`}
      ${Object.keys(MODES).map((name) => html`<option value=${name} selected=${name === now}>${t(`inpaint.${name}`)}</option>`)}</select></div>`;
}

async function find() {
  busy.value = true;
  try {
    const { data } = await call("POST", "/v1/tools/generate_mask", { ...finding.value, image: pictures.value.inpaint });
    await putMask(`data:image/png;base64,${data}`);
  } catch (error) {
    notice(error.message, "error");
  } finally {
    busy.value = false;
  }
}

function Finder() {
  const shapes = Object.entries(propertiesOf("Mask")).filter(([name]) => name !== "image" && name !== "text_threshold");
  const model = finding.value.mask_model;
  const fits = (name) => (name === "cloth_category" ? model === "u2net_cloth_seg" : name === "mask_model" || model === "sam");
  return html`<details class="group finder"><summary>${t("mask.find")}</summary>
    ${shapes.filter(([name]) => fits(name)).map(([name, property]) => {
      const label = labelOf(name, property);
      const now = finding.value[name] ?? property.default;
      const change = (wanted) => (finding.value = { ...finding.value, [name]: wanted });
      return html`<${Field} key=${name} path=${`find-${name}`} label=${label} help=${helpOf(name, property)} inline=${kindOf(property) === "flag"}>
        ${(id, describedBy) => html`<${Control} id=${id} describedBy=${describedBy} name=${name} property=${property} label=${label} value=${now} onInput=${change} />
          ${name === "dino_prompt_text" && html`<${QuickList} words=${PARTS} chosen=${now} onChoose=${change} />`}`}
      </${Field}>`;
    })}
    <button type="button" class="primary" disabled=${busy.value || !pictures.value.inpaint} onClick=${find}>${t(busy.value ? "working" : "mask.do")}</button>
  </details>`;
}

function Distances() {
  const name = "outpaint_distance";
  const now = value(name) ?? [0, 0, 0, 0];
  const sides = ["Left", "Top", "Right", "Bottom"];
  const change = (at, wanted) => set(name, now.map((one, other) => (other === at ? wanted : one)));
  return html`<${Field} path=${name} label=${labelOf(name)} help=${helpOf(name)} changed=${name in settings.value} onReset=${() => unset(name)}>
    ${(id) => html`<div class="row wrap distances">${sides.map((side, at) => html`<label>${t(`word.${side}`)}<input type="number" id=${at ? undefined : id} min="0" max="2048" step="8" value=${now[at]} onChange=${(event) => change(at, Number(event.target.value))} /></label>`)}</div>`}
  </${Field}>`;
}

export function Inpaint() {
  const picture = pictures.value.inpaint;
  const [file, choose] = useFile("image/*", async ([chosen]) => chosen && putMask(await asDataUrl(chosen)));
  const sides = value("outpaint_selections") ?? [];
  return html`<div class="input-columns inpaint">
    <div class="stack"><${PictureSlot} slot="inpaint" member="inpaint_input_image" label=${t("slot.inpaint")}>${picture && html`<${Board} key=${picture} picture=${picture} />`}</${PictureSlot}></div>
    <div class="stack">
      <${Mode} />
      <${Member} name="inpaint_additional_prompt" />
      <${QuickList} words=${DETAILS} chosen=${value("inpaint_additional_prompt")} onChoose=${(words) => set("inpaint_additional_prompt", words)} />
      <${Member} name="outpaint_selections" />
      ${sides.length > 0 && html`<${Distances} />`}
      ${!sides.length && html`<div data-member="outpaint_distance" hidden></div>`}
      <${Finder} />
      <div class="row" data-member="inpaint_mask_image_upload"><button type="button" disabled=${!picture} onClick=${choose}>${t("mask.upload")}</button>${file}</div>
      <${Member} name="invert_mask_checkbox" />
    </div></div>`;
}
