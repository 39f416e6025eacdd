// The parameters that a picture carries: shown, and applied if wanted.
import { html, signal, useEffect } from "./lib.js";
import { t } from "./i18n.js";
import { readPicture } from "./pasted.js";
import { PictureSlot } from "./picture.js";
import { apply, pictures } from "./settings.js";
import { Parameters } from "./telling.js";
import { notice } from "./ui.js";

const found = signal(null);

export function Metadata() {
  const picture = pictures.value.metadata;
  useEffect(() => {
    found.value = null;
    if (picture) readPicture(picture).then((data) => (found.value = data)).catch((error) => notice(error.message, "error"));
  }, [picture]);
  const told = Object.entries(found.value?.parameters ?? {});
  const take = () => {
    apply(found.value.parameters);
    notice(t("applied"));
  };
  return html`<div class="input-columns"><${PictureSlot} slot="metadata" label=${t("slot.metadata")} />
    <div class="stack">
      ${!picture && html`<p class="hint">${t("metadata.hint")}</p>`}
      ${found.value && !told.length && html`<p>${t("metadata.none")}</p>`}
      ${told.length > 0 && html`<p>${t("metadata.scheme", { scheme: found.value.metadata_scheme })}</p>
        <${Parameters} params=${found.value.parameters} />
        ${found.value.notes.map((note) => html`<p class="hint">${note}</p>`)}
        <button type="button" class="primary" onClick=${take}>${t("apply")}</button>`}
    </div></div>`;
}
