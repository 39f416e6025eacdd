// What is being drawn, or what was drawn last.
import { html } from "./lib.js";
import { own } from "./api.js";
import { t } from "./i18n.js";
import { openLightbox } from "./lightbox.js";
import { duration, percent, wordsOfTask } from "./progress.js";
import { promptOf, queue, shown, ended } from "./tasks.js";
import { PictureActions } from "./actions.js";

function ratioOf(task) {
  const [width, height] = String(task.req_params?.aspect_ratios_selection ?? "1*1").split(/[*×x]/).map(Number);
  return width && height ? `${width} / ${height}` : "1 / 1";
}

function previewOf(task) {
  if (!task.preview) return null;
  return task.preview.startsWith("data:") ? task.preview : `data:image/png;base64,${task.preview}`;
}

export function Progress({ task }) {
  const done = percent(task, queue.value);
  return html`<div class="progress">
    <div class="progress-line" role="progressbar" aria-label=${t("progress")} aria-valuenow=${Math.round(done)} aria-valuemin="0" aria-valuemax="100">
      <div class="progress-done" style=${{ width: `${done}%` }}></div>
    </div>
    <p class="progress-words">${wordsOfTask(task, queue.value)}</p>
  </div>`;
}

function Working({ task }) {
  const preview = previewOf(task);
  const made = (task.result ?? []).filter(Boolean);
  return html`<div class="stage-working">
    <div class="preview" style=${{ aspectRatio: ratioOf(task) }}>
      ${preview ? html`<img src=${preview} alt=${t("preview")} id="preview" />` : html`<div class="preview-empty" aria-hidden="true"></div>`}
    </div>
    ${made.length > 0 && html`<div class="strip">${made.map((url) => html`<img src=${own(url, 160)} alt="" />`)}</div>`}
    <${Progress} task=${task} />
  </div>`;
}

function Result({ task, url, at }) {
  const drag = (event) => event.dataTransfer.setData("text/uri-list", own(url));
  return html`<figure class="result">
    <button type="button" class="result-open" aria-label=${t("picture.open", { n: at + 1 })} onClick=${() => openLightbox([task], 0, at)}>
      <img src=${own(url)} alt=${promptOf(task) || t("picture.n", { n: at + 1 })} draggable=${true} onDragStart=${drag} />
    </button>
    <figcaption><${PictureActions} task=${task} url=${url} compact=${true} /></figcaption>
  </figure>`;
}

function Results({ task }) {
  const pictures = task.result ?? [];
  const took = task.finish_mills > 0 && task.start_mills > 0 ? duration((task.finish_mills - task.start_mills) / 1000) : "";
  const line = [t(`status.${task.task_status}`), took, task.seed && t("seed.n", { n: task.seed })].filter(Boolean).join(" · ");
  return html`<div class="stage-results">
    <div class="results count-${Math.min(pictures.length, 4)}">${pictures.map((url, at) => html`<${Result} key=${url} task=${task} url=${url} at=${at} />`)}</div>
    ${task.error && html`<p class="fault big" role="alert">${task.error}</p>`}
    <p class="stage-line">${line}</p>
    ${task.notes?.length > 0 && html`<details class="notes"><summary>${t("notes.n", { n: task.notes.length })}</summary><ul>${task.notes.map((note) => html`<li>${note}</li>`)}</ul></details>`}
  </div>`;
}

export function Stage() {
  const task = shown.value;
  const inside = !task
    ? html`<div class="stage-empty"><span class="brand-mark large" aria-hidden="true"></span><p>${t("stage.empty")}</p></div>`
    : ended(task) ? html`<${Results} task=${task} />` : html`<${Working} task=${task} />`;
  return html`<section class="stage" aria-label=${t("stage")}>${inside}</section>`;
}
