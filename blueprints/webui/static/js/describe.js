// A picture in words, which become the prompt.
import { html, signal } from "./lib.js";
import { call } from "./api.js";
import { t } from "./i18n.js";
import { Control, Field } from "./fields.js";
import { PictureSlot } from "./picture.js";
import { helpOf, labelOf, lists, propertiesOf } from "./schema.js";
import { pictures, set } from "./settings.js";
import { stored } from "./storage.js";
import { notice } from "./ui.js";

const kind = signal("Photo");
const words = signal("");
const described = signal("Photo"); // the kind that these words were asked for
const withStyles = stored("describeStyles", true);
// What suits each kind of picture, as Fooocus has it.
const STYLES = { Photo: ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"], Anime: ["Fooocus V2", "Fooocus Masterpiece"] };
const busy = signal(false);

async function describe() {
  busy.value = true;
  try {
    const { data } = await call("POST", "/v1/tools/describe-image", { image: pictures.value.describe, image_type: kind.value });
    words.value = data.describe;
    described.value = kind.value;
  } catch (error) {
    notice(error.message, "error");
  } finally {
    busy.value = false;
  }
}

function use() {
  set("prompt", words.value);
  const known = lists.value.styles; // none where they could not be listed
  const suiting = STYLES[described.value].filter((name) => !known.length || known.includes(name));
  if (withStyles.value && suiting.length) set("style_selections", suiting);
}

export function Describe() {
  const shapes = propertiesOf("Describe");
  const label = labelOf("image_type", shapes.image_type);
  return html`<div class="input-columns"><${PictureSlot} slot="describe" label=${t("slot.describe")} />
    <div class="stack">
      <${Field} path="image_type" label=${label} help=${helpOf("image_type", shapes.image_type ?? {})}>${(id, describedBy) => html`<${Control} id=${id} describedBy=${describedBy} name="image_type" property=${shapes.image_type ?? {}} value=${kind.value} label=${label} onInput=${(wanted) => (kind.value = wanted)} />`}</${Field}>
      <${Field} path="describe-styles" label=${t("describe.styles")} help=${t("describe.styles.help", { styles: STYLES[kind.value].join(", ") })} inline=${true}>
        ${(id, describedBy) => html`<input type="checkbox" class="switch" id=${id} aria-describedby=${describedBy} checked=${withStyles.value} onChange=${(event) => (withStyles.value = event.target.checked)} />`}
      </${Field}>
      <button type="button" class="primary" disabled=${!pictures.value.describe || busy.value} onClick=${describe}>${t(busy.value ? "working" : "describe")}</button>
      ${words.value && html`<blockquote class="description" id="description">${words.value}</blockquote>
        <button type="button" onClick=${use}>${t("describe.use")}</button>`}
    </div></div>`;
}
