// A picture in words, which become the prompt.
import { html, signal } from "./lib.js";
import { call } from "./api.js";
import { t } from "./i18n.js";
import { Control } from "./fields.js";
import { PictureSlot } from "./picture.js";
import { labelOf, propertiesOf } from "./schema.js";
import { pictures, set } from "./settings.js";
import { notice } from "./ui.js";

const kind = signal("Photo");
const words = signal("");
const busy = signal(false);

async function describe() {
  busy.value = true;
  try {
    const { data } = await call("POST", "/v1/tools/describe-image", { image: pictures.value.describe, image_type: kind.value });
    words.value = data.describe;
  } catch (error) {
    notice(error.message, "error");
  } finally {
    busy.value = false;
  }
}

export function Describe() {
  const shapes = propertiesOf("Describe");
  const label = labelOf("image_type", shapes.image_type);
  return html`<div class="input-columns"><${PictureSlot} slot="describe" label=${t("slot.describe")} />
    <div class="stack">
      <div class="field"><label for="describe-kind">${label}</label><${Control} id="describe-kind" name="image_type" property=${shapes.image_type ?? {}} value=${kind.value} label=${label} onInput=${(wanted) => (kind.value = wanted)} /></div>
      <button type="button" class="primary" disabled=${!pictures.value.describe || busy.value} onClick=${describe}>${t(busy.value ? "working" : "describe")}</button>
      ${words.value && html`<blockquote class="description" id="description">${words.value}</blockquote>
        <button type="button" onClick=${() => set("prompt", words.value)}>${t("describe.use")}</button>`}
    </div></div>`;
}
