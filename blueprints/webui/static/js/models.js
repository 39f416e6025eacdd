// Checkpoint, refiner and LoRAs.
import { html } from "./lib.js";
import { t } from "./i18n.js";
import { Control, Field, Member } from "./fields.js";
import { helpOf, labelOf, loadLists, members, propertiesOf } from "./schema.js";
import { set, settings, unset, value } from "./settings.js";
import { Icon, IconButton, notice } from "./ui.js";

const EMPTY = { enabled: true, model_name: "None", weight: 1 };

function Lora({ at, lora, onChange, onRemove }) {
  const shapes = propertiesOf("Lora");
  const part = (name) => {
    const label = `${labelOf("loras")} ${at + 1}: ${labelOf(`lora.${name}`, shapes[name])}`;
    return html`<div class="lora-${name}" data-member=${`loras.${name}`} title=${helpOf(`lora.${name}`, shapes[name])}>
      <${Control} id=${`f-loras.${at}.${name}`} name=${name} property=${shapes[name]} value=${lora[name]} label=${label} onInput=${(wanted) => onChange({ ...lora, [name]: wanted })} />
      <label class="visually-hidden" for=${`f-loras.${at}.${name}`}>${label}</label>
    </div>`;
  };
  return html`<div class="lora">${part("enabled")}${part("model_name")}<${IconButton} icon="trash" label=${t("lora.remove", { n: at + 1 })} onClick=${onRemove} />${part("weight")}</div>`;
}

function Loras() {
  const loras = value("loras") ?? [];
  const named = loras.filter((lora) => lora.model_name !== "None" || lora.shown);
  const most = members.value.loras?.maxItems ?? 5;
  const change = (at, lora) => set("loras", named.map((one, other) => (other === at ? lora : one)));
  const remove = (at) => set("loras", named.filter((_, other) => other !== at));
  return html`<${Field} path="loras" label=${labelOf("loras")} help=${helpOf("loras")} changed=${"loras" in settings.value} onReset=${() => unset("loras")}>
    ${(id) => html`<div class="stack">
      ${named.map((lora, at) => html`<${Lora} key=${at} at=${at} lora=${lora} onChange=${(next) => change(at, next)} onRemove=${() => remove(at)} />`)}
      <button type="button" id=${id} disabled=${named.length >= most} onClick=${() => set("loras", [...named, { ...EMPTY, shown: true }])}>${t("lora.add")}</button>
    </div>`}
  </${Field}>`;
}

export function Models() {
  const refresh = () => loadLists().then(() => notice(t("models.refreshed"))).catch((error) => notice(error.message, "error"));
  return html`<${Member} name="base_model_name" />
    <${Member} name="refiner_model_name" />
    ${(value("refiner_model_name") ?? "None") !== "None" ? html`<${Member} name="refiner_switch" />` : html`<p class="hint" data-member="refiner_switch">${t("refiner.hint")}</p>`}
    <${Loras} />
    <button type="button" class="with-icon" onClick=${refresh}><${Icon} name="again" />${t("models.refresh")}</button>`;
}
