// One picture large, with its parameters; arrows, keys and swipes lead to the next.
import { html, signal, useEffect, useRef, useSignal } from "./lib.js";
import { own } from "./api.js";
import { t } from "./i18n.js";
import { PictureActions, deleteTasks, retry, showDeliveries } from "./actions.js";
import { Dialog, IconButton, notice } from "./ui.js";
import { whole } from "./tasks.js";
import { Parameters } from "./telling.js";

const seen = signal(null); // { tasks, at, picture, more }

// `more(at)` gives the task at another place of a long list, or null.
export async function openLightbox(tasks, at = 0, picture = 0, more = null) {
  seen.value = { tasks: { [at]: await whole(tasks[at]) }, at, picture, more };
}

async function step(by) {
  const { tasks, at, picture, more } = seen.value;
  const here = tasks[at]?.result?.length ?? 0;
  if (picture + by >= 0 && picture + by < here) {
    seen.value = { ...seen.value, picture: picture + by };
    return;
  }
  const next = await more?.(at + by);
  if (!next || !seen.value) return;
  const last = Math.max(0, (next.result?.length ?? 1) - 1);
  seen.value = { tasks: { [at + by]: await whole(next) }, at: at + by, picture: by > 0 ? 0 : last, more };
}

const aboutTask = (task) => [
  [t("drawn.with"), task.drawn_with?.checkpoint ?? ""],
  [t("drawn.at"), new Date(task.in_queue_mills).toLocaleString()],
];

export function Lightbox() {
  const start = useRef(null);
  const told = useSignal(null);
  const task = seen.value?.tasks[seen.value.at];
  useEffect(() => {
    if (!task) return undefined;
    const keys = (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) step(by);
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, [Boolean(task)]);
  if (!task) return null;
  const close = () => (seen.value = null);
  const urls = task.result ?? [];
  const url = urls[seen.value.picture];
  const begin = (event) => (start.current = event.clientX);
  const end = (event) => {
    const moved = event.clientX - (start.current ?? event.clientX);
    start.current = null;
    if (Math.abs(moved) > 60) step(moved > 0 ? -1 : 1);
  };
  const again = () => retry(task).then(close).catch((error) => notice(error.message, "error"));
  const remove = () => deleteTasks([task.task_id]).then((done) => done && close()).catch((error) => notice(error.message, "error"));
  return html`<${Dialog} title=${t("picture.title", { n: seen.value.picture + 1, total: urls.length || 1 })} onClose=${close} class="lightbox">
    <div class="lightbox-body">
      <div class="lightbox-picture" onPointerDown=${begin} onPointerUp=${end}>
        <${IconButton} icon="left" label=${t("previous")} class="previous" onClick=${() => step(-1)} />
        ${url ? html`<img src=${own(url)} alt=${task.req_params.prompt || t("picture.n", { n: 1 })} draggable=${false} />` : html`<p class="fault big">${task.error ?? t(`status.${task.task_status}`)}</p>`}
        <${IconButton} icon="right" label=${t("next")} class="next" onClick=${() => step(1)} />
      </div>
      <div class="lightbox-side">
        ${url && html`<${PictureActions} task=${task} url=${url} onLeave=${close} />`}
        <div class="actions"><button type="button" onClick=${again}>${t("retry")}</button>${task.webhook_url && html`<button type="button" onClick=${() => showDeliveries(task, told)}>${t("deliveries")}</button>`}<button type="button" class="danger" onClick=${remove}>${t("delete")}</button></div>
        ${told.value && html`<${told.value.Dialog} task=${task} onClose=${() => (told.value = null)} />`}
        <${Parameters} params=${{ ...task.req_params, image_seed: task.seed }} more=${aboutTask(task)} />
      </div>
    </div>
  </${Dialog}>`;
}
