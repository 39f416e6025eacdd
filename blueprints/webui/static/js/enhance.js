// Enhancing: a picture, or whatever is drawn, goes through an upscale or variation and up to three steps.
import { html, useSignal } from "./lib.js";
import { t } from "./i18n.js";
import { Control, Field, Member, Members } from "./fields.js";
import { PictureSlot } from "./picture.js";
import { DETAILS, PARTS, QuickList } from "./quick.js";
import { helpOf, kindOf, labelOf, members, propertiesOf } from "./schema.js";
import { set, value } from "./settings.js";
import { TabPanel, Tabs } from "./ui.js";

const QUICK = { enhance_mask_dino_prompt: PARTS, enhance_prompt: DETAILS };
const AROUND = ["enhance_uov_method", "enhance_uov_processing_order", "enhance_uov_prompt_type"];

function Part({ at, name, property, steps }) {
  const now = steps[at]?.[name] ?? property.default;
  const label = labelOf(name, property);
  const change = (wanted) => {
    const list = Array.from({ length: Math.max(steps.length, at + 1) }, (_, other) => steps[other] ?? {});
    list[at] = { ...list[at], [name]: wanted };
    set("enhance_ctrls", list);
  };
  return html`<${Field} path=${`enhance_ctrls.${at}.${name}`} label=${label} help=${helpOf(name, property)} inline=${kindOf(property) === "flag"}>
    ${(id, describedBy) => html`<${Control} id=${id} describedBy=${describedBy} name=${name} property=${property} value=${now} label=${label} onInput=${change} />
      ${name in QUICK && html`<${QuickList} words=${QUICK[name]} chosen=${now} onChoose=${change} />`}`}
  </${Field}>`;
}

function Step({ at }) {
  const steps = value("enhance_ctrls") ?? [];
  const shapes = Object.entries(propertiesOf("EnhanceStep")).sort(([, one], [, other]) => (one["x-order"] ?? 0) - (other["x-order"] ?? 0));
  const part = ([name, property]) => html`<${Part} key=${`${at}.${name}`} at=${at} name=${name} property=${property} steps=${steps} />`;
  return html`${shapes.filter(([, property]) => !property["x-advanced"]).map(part)}
    <details class="group"><summary>${t("more")}</summary>${shapes.filter(([, property]) => property["x-advanced"]).map(part)}</details>`;
}

export function Enhance() {
  const step = useSignal("0");
  const steps = value("enhance_ctrls") ?? [];
  const most = members.value.enhance_ctrls?.maxItems ?? 3;
  const tabs = Array.from({ length: most }, (_, at) => ({ name: String(at), label: t("enhance.step", { n: at + 1 }) + (steps[at]?.enhance_enabled ? " ●" : "") }));
  return html`<div class="input-columns"><div class="stack"><${PictureSlot} slot="enhance" member="enhance_input_image" label=${t("slot.enhance")} /><p class="hint">${t("enhance.hint")}</p></div>
    <div class="stack">
      <${Member} name="enhance_checkbox" />
      <${Members} names=${AROUND} />
      <div data-member="enhance_ctrls">
        <${Tabs} id="enhance-step" label=${labelOf("enhance_ctrls")} tabs=${tabs} selected=${step.value} onSelect=${(name) => (step.value = name)} />
        <${TabPanel} id="enhance-step" selected=${step.value}><${Step} at=${Number(step.value)} /></${TabPanel}>
      </div>
    </div></div>`;
}
