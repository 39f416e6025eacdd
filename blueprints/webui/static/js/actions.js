// What one can do with a picture or a task that was drawn.
import { html } from "./lib.js";
import { call, own } from "./api.js";
import { t } from "./i18n.js";
import { act, download, confirm, IconButton, notice } from "./ui.js";
import { apply, open, set, setPicture } from "./settings.js";
import { endings, remove, submitted } from "./tasks.js";

export function reuse(task) {
  apply({ ...task.req_params, image_seed: task.seed });
  notice(t("applied"));
  location.hash = "#/draw";
}

export function useAsInput(url, tab = "uov") {
  setPicture(tab === "ip" ? "cn0" : tab, own(url));
  open({ input: true, inputTab: tab });
  location.hash = "#/draw";
}

export function upscale(url) {
  useAsInput(url, "uov");
  set("uov_method", "Upscale (2x)");
}

export const fileName = (url) => decodeURIComponent(new URL(url, location.href).pathname.split("/").pop());

export async function save(url) {
  const answer = await fetch(own(url));
  if (!answer.ok) throw new Error(t("zip.missing", { name: fileName(own(url)) }));
  download(await answer.blob(), fileName(own(url)));
}

// Puts { task, Dialog } into the signal `shown`: the dialog of a task's webhooks, which is loaded when it is asked for.
export const showDeliveries = (task, shown) => act(import("./deliveries.js").then(({ Deliveries }) => (shown.value = { task, Dialog: Deliveries })));

export async function retry(task) {
  submitted((await call("POST", `/tasks/${task.task_id}/retry`)).data);
  notice(t("retried"));
}

export async function deleteTasks(ids) {
  const sure = await confirm(t("delete.sure", { n: ids.length }), t("delete"));
  if (!sure) return false;
  for (const id of ids) await remove(id);
  endings.value += 1;
  notice(t("deleted", { n: ids.length }));
  return true;
}

export function PictureActions({ task, url, onLeave = () => {}, compact = false }) {
  const go = (work) => () => {
    onLeave();
    work();
  };
  return html`<div class="actions">
    ${compact
      ? html`<${IconButton} icon="image" label=${t("use.input")} onClick=${go(() => useAsInput(url))} />
          <${IconButton} icon="up" label=${t("upscale")} onClick=${go(() => upscale(url))} />
          <${IconButton} icon="download" label=${t("download")} onClick=${() => act(save(url))} />`
      : html`<button type="button" class="primary" onClick=${go(() => reuse(task))}>${t("use.settings")}</button>
          <button type="button" onClick=${go(() => useAsInput(url))}>${t("use.input")}</button>
          <button type="button" onClick=${go(() => useAsInput(url, "inpaint"))}>${t("use.inpaint")}</button>
          <button type="button" onClick=${go(() => upscale(url))}>${t("upscale")}</button>
          <button type="button" onClick=${() => act(save(url))}>${t("download")}</button>`}
  </div>`;
}
