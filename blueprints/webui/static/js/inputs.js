// The panel of pictures that go into a request: one tab for each way to use them.
import { html } from "./lib.js";
import { t } from "./i18n.js";
import { Describe } from "./describe.js";
import { Enhance } from "./enhance.js";
import { Control, Field, Member, Members } from "./fields.js";
import { Inpaint } from "./inpaint.js";
import { Metadata } from "./metadata.js";
import { PictureSlot, dropped, activeSlot } from "./picture.js";
import { helpOf, labelOf, members, propertiesOf } from "./schema.js";
import { CONTROLS, controlAt, open, panels, pictures, set, settings, unset, value } from "./settings.js";
import { TabPanel, Tabs } from "./ui.js";

const TABS = ["uov", "ip", "inpaint", "describe", "enhance", "metadata"];

function Vary() {
  const name = "uov_method";
  return html`<div class="input-columns"><${PictureSlot} slot="uov" member="uov_input_image" label=${t("slot.uov")} />
    <div class="stack"><${Field} path=${name} label=${labelOf(name)} help=${helpOf(name)} changed=${name in settings.value} onReset=${() => unset(name)}>
      ${(id) => html`<div class="radios" role="radiogroup" aria-label=${labelOf(name)}>
        ${(members.value[name]?.enum ?? []).map((word, at) => html`<label><input type="radio" name=${name} id=${at ? undefined : id} checked=${word === value(name)} onChange=${() => set(name, word)} />${t(`word.${word}`).replace("word.", "")}</label>`)}
      </div>`}
    </${Field}>
    ${pictures.value.uov && value(name) === "Disabled" && html`<p class="hint">${t("uov.hint")}</p>`}
    <${Member} name="upscale_multiple" /></div></div>`;
}

function ImagePrompt({ at }) {
  const now = controlAt(at);
  const shapes = propertiesOf("ImagePrompt");
  const change = (name, wanted) => {
    const list = Array.from({ length: CONTROLS }, (_, other) => settings.value.controlnet_image?.[other] ?? {});
    list[at] = name === "cn_type" ? { cn_type: wanted } : { ...now, [name]: wanted };
    set("controlnet_image", list);
  };
  return html`<div class="image-prompt">
    <${PictureSlot} slot=${`cn${at}`} member=${at ? `controlnet_image.${at}` : "controlnet_image"} label=${t("slot.ip", { n: at + 1 })} />
    ${["cn_type", "cn_stop", "cn_weight"].map((name) => {
      const label = labelOf(name, shapes[name]);
      return html`<${Field} path=${`cn.${at}.${name}`} member=${`controlnet_image.${name}`} label=${label} help=${helpOf(name, shapes[name])}>${(id, describedBy) => html`<${Control} id=${id} describedBy=${describedBy} name=${name} property=${shapes[name]} value=${now[name]} label=${label} onInput=${(wanted) => change(name, wanted)} />`}</${Field}>`;
    })}
  </div>`;
}

const ImagePrompts = () => html`<div class="image-prompts" data-member="controlnet_image.cn_img">${Array.from({ length: CONTROLS }, (_, at) => html`<${ImagePrompt} key=${at} at=${at} />`)}</div>
  <${Members} names=${["mixing_image_prompt_and_vary_upscale", "mixing_image_prompt_and_inpaint"]} />`;

const INSIDE = { uov: Vary, ip: ImagePrompts, inpaint: Inpaint, describe: Describe, enhance: Enhance, metadata: Metadata };

export function InputPanel() {
  const { inputTab } = panels.value;
  const drop = (event) => {
    event.preventDefault();
    dropped(activeSlot(), event.dataTransfer);
  };
  return html`<section class="inputs" aria-label=${t("input")} onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>
    <${Tabs} id="input-tab" label=${t("input")} selected=${inputTab} onSelect=${(name) => open({ inputTab: name })} tabs=${TABS.map((name) => ({ name, label: t(`input.${name}`) }))} />
    <${TabPanel} id="input-tab" selected=${inputTab}><${INSIDE[inputTab] ?? Vary} /></${TabPanel}>
  </section>`;
}
