// What is drawn and what waits: cancel, raise, pause, and the model files on their way.
import { html, signal, useEffect } from "./lib.js";
import { call, caller, may } from "./api.js";
import { t } from "./i18n.js";
import { showDeliveries } from "./actions.js";
import { Progress } from "./stage.js";
import { allRunning, cancel, mine, pause, promptOf, put, queue, refresh, waiting } from "./tasks.js";
import { act, IconButton } from "./ui.js";

const HIGHEST = 10;
const told = signal(null); // the task whose webhooks are shown, and their dialog

const isMine = (task) => (task.key_name ? task.key_name === caller.value?.name : mine.value.includes(task.task_id));

// As much priority as it takes to come before the next one.
async function raise(task) {
  let now = task;
  do {
    now = (await call("POST", `/tasks/${task.task_id}/priority`, { priority: now.priority + 1 })).data;
  } while (now.priority < HIGHEST && now.queue_position >= task.queue_position);
  put(now);
  await refresh();
}

function Row({ task }) {
  const mayChange = may("admin") || (task.key_name === caller.value?.name && may("draw"));
  const waits = task.task_status === "pending";
  return html`<li class="queue-row" data-task=${task.task_id}>
    <div class="queue-what">
      <p class="queue-prompt">${promptOf(task) || t("prompt.none")}</p>
      <p class="hint">${[isMine(task) ? t("queue.mine") : task.key_name, task.req_params && t("pictures.n", { n: task.req_params.image_number }), task.priority ? t("priority.n", { n: task.priority }) : ""].filter(Boolean).join(" · ")}</p>
      <${Progress} task=${task} />
    </div>
    <div class="row">
      ${waits && html`<${IconButton} icon="up" label=${t("raise")} disabled=${!mayChange || task.priority >= HIGHEST} onClick=${() => act(raise(task))} />`}
      ${task.webhook_url && html`<button type="button" onClick=${() => showDeliveries(task, told)}>${t("deliveries")}</button>`}
      <button type="button" class="danger" disabled=${!mayChange} onClick=${() => act(cancel(task.task_id).then(refresh))}>${t(waits ? "cancel" : "stop")}</button>
    </div>
  </li>`;
}

function Downloads() {
  const { downloads } = queue.value;
  if (!downloads.length) return null;
  return html`<h2>${t("downloads")}</h2><ul class="plain">${downloads.map(
    (one) => html`<li class="queue-row"><div class="queue-what"><p>${one.file}</p><progress max=${one.bytes_total ?? 1} value=${one.bytes_done} aria-label=${one.file}></progress></div></li>`,
  )}</ul>`;
}

export function Queue() {
  useEffect(() => {
    act(refresh());
  }, []);
  const { paused } = queue.value;
  const rows = [...allRunning.value, ...waiting.value];
  return html`<section class="queue" aria-label=${t("view.queue")}>
    <div class="row wrap queue-bar">
      <h2>${t("view.queue")}</h2><span class="hint grow" role="status">${t("queue.n", { n: queue.value.pending })}${paused && ` · ${t("paused")}`}</span>
      ${may("admin") && html`<button type="button" aria-pressed=${paused} onClick=${() => act(pause(!paused))}>${t(paused ? "resume" : "pause")}</button>`}
    </div>
    ${rows.length ? html`<ol class="plain">${rows.map((task) => html`<${Row} key=${task.task_id} task=${task} />`)}</ol>` : html`<p class="hint empty-list">${t("queue.empty")}</p>`}
    <${Downloads} />
    ${told.value && html`<${told.value.Dialog} task=${told.value.task} onClose=${() => (told.value = null)} />`}
  </section>`;
}
