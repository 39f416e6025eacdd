// A place for a picture: dropped, pasted, chosen, or dragged back from the results.
import { html, useSignal } from "./lib.js";
import { own } from "./api.js";
import { t } from "./i18n.js";
import { useFile } from "./fields.js";
import { offerCarried } from "./pasted.js";
import { faults, panels, pictures, setPicture } from "./settings.js";
import { IconButton, notice } from "./ui.js";

const KINDS = "image/*,.heic,.avif";

export function asDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

export async function take(slot, file) {
  try {
    const url = await asDataUrl(file);
    setPicture(slot, url);
    offerCarried(url);
  } catch (error) {
    notice(error.message, "error");
  }
}

// What was dropped: files, or the address of a picture of this server.
export function dropped(slot, transfer) {
  const file = [...transfer.files].find((one) => one.type.startsWith("image/") || /\.(heic|avif)$/i.test(one.name));
  const address = transfer.getData("text/uri-list").split("\n")[0];
  if (file) take(slot, file);
  else if (/\/(outputs|inputs)\//.test(address)) setPicture(slot, own(address));
  else notice(t("picture.none"), "error");
}

const FREE = () => [0, 1, 2, 3].map((at) => `cn${at}`).find((slot) => !pictures.value[slot]) ?? "cn0";

// The slot that a picture goes into which was put nowhere in particular.
export function activeSlot() {
  const { inputTab } = panels.value;
  return inputTab === "ip" ? FREE() : inputTab;
}

export function pasteAnywhere(event) {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (!file) return;
  event.preventDefault();
  panels.value = { ...panels.value, input: true };
  take(activeSlot(), file);
}

export function PictureSlot({ slot, label, member, children }) {
  const over = useSignal(false);
  const [file, choose] = useFile(KINDS, ([chosen]) => chosen && take(slot, chosen));
  const picture = pictures.value[slot];
  const fault = member && Object.entries(faults.value).find(([name, text]) => text && name.startsWith(member))?.[1];
  const drop = (event) => {
    event.preventDefault();
    event.stopPropagation();
    over.value = false;
    dropped(slot, event.dataTransfer);
  };
  const hover = (event) => {
    event.preventDefault();
    over.value = true;
  };
  return html`<div class="slot ${over.value ? "over" : ""} ${picture ? "full" : ""}" data-member=${member} data-slot=${slot} onDragOver=${hover} onDragLeave=${() => (over.value = false)} onDrop=${drop}>
    ${picture
      ? html`${children ?? html`<img src=${picture} alt=${label} />`}
          <div class="slot-tools"><${IconButton} icon="image" label=${`${t("picture.replace")}: ${label}`} onClick=${choose} /><${IconButton} icon="trash" label=${`${t("picture.remove")}: ${label}`} onClick=${() => setPicture(slot, null)} /></div>`
      : html`<button type="button" class="slot-empty" onClick=${choose}><span>${label}</span><span class="hint">${t("picture.how")}</span></button>`}
    ${file}
    ${fault && html`<p class="fault" role="alert">${fault}</p>`}
  </div>`;
}
