// A task's progress in words and in percent, and the title and icon of the tab that tell it from afar.
import { effect } from "./lib.js";
import { t } from "./i18n.js";
import { mine, running, tasks, waiting, ended } from "./tasks.js";

export function duration(seconds) {
  if (seconds < 90) return t("seconds", { n: seconds < 10 ? Number(seconds.toFixed(1)) : Math.round(seconds) });
  return t("minutes", { n: Math.round(seconds / 60) });
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(0);

function downloadOf(task, queue) {
  const downloads = task?.downloads ?? [];
  return downloads.map((one) => queue.downloads.find((other) => other.file === one.file) ?? one);
}

// Of the picture, or of the files that a task waits for, where their sizes are known.
export function percent(task, queue = { downloads: [] }) {
  const fetched = task.task_status === "pending" ? downloadOf(task, queue) : [];
  const total = fetched.reduce((sum, one) => sum + (one.bytes_total ?? NaN), 0);
  const done = fetched.reduce((sum, one) => sum + one.bytes_done, 0);
  return Math.max(0, Math.min(100, total > 0 ? (100 * done) / total : (task.progress ?? 0)));
}

// What the engine says that it does, in the page's language.
const STAGES = [
  [/Enhancing image \d+, step (\d+)\/(\d+)/, (n, total) => t("stage.enhancing", { n, total })],
  [/^Sampling step (\d+)\/(\d+)/, (n, total) => t("stage.sampling", { n, total })],
  [/^Loading models/, () => t("stage.loading")],
  [/^(?:Processing|Preparing|Encoding) /, () => t("stage.preparing")],
  [/^Upscaling image/, () => t("stage.upscaling")],
  [/^Saving image/, () => t("stage.saving")],
];

function stage(message) {
  const told = STAGES.map(([pattern, words]) => [pattern.exec(message), words]).filter(([found]) => found);
  return told.map(([[, ...numbers], words]) => words(...numbers)).join(" · ") || message;
}

// "Step 10 of 30 · picture 2 of 4 · about 12 s left", "Waiting, place 3", or the file that is being fetched.
export function wordsOfTask(task, queue = { downloads: [] }) {
  const fetched = downloadOf(task, queue);
  if (task.task_status === "pending" && fetched.length) {
    return fetched.map((one) => t("downloading", { file: one.file, done: megabytes(one.bytes_done), total: one.bytes_total ? megabytes(one.bytes_total) : "?" })).join(" · ");
  }
  const seconds = Math.round((task.ends_at - Date.now()) / 1000);
  const left = seconds > 0 ? t("eta", { time: duration(seconds) }) : "";
  if (task.task_status === "pending") {
    return [t(queue.paused ? "paused.waits" : "waits", { n: task.queue_position ?? "?" }), left].filter(Boolean).join(" · ");
  }
  const total = task.req_params?.image_number ?? 1;
  const at = total > 1 ? t("picture.of", { n: Math.min(task.pictures_done + 1, total), total }) : "";
  return [task.message ? stage(task.message) : t("status.running"), at, left].filter(Boolean).join(" · ");
}

const ICONS = { calm: "#5b5bd6", busy: "#e5a000", done: "#2f9e5b" };

function icon(color) {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="${color}"/><circle cx="16" cy="16" r="8" fill="none" stroke="#fff" stroke-width="3"/></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

let before = null;

// Tell in the tab what goes on: a percentage, how many wait, and that all is done while nobody looked.
export function watchTitle() {
  let unseen = false;
  const show = (title, color) => {
    document.title = title;
    if (color !== before) document.getElementById("icon").href = icon(color);
    before = color;
  };
  const seen = () => {
    if (!document.hidden && unseen) show("Fooocus", ICONS.calm);
    unseen = false;
  };
  document.addEventListener("visibilitychange", seen);
  let worked = false;
  effect(() => {
    const task = running.value;
    const own = mine.value.map((id) => tasks.value[id]).filter(Boolean);
    if (task || waiting.value.length) {
      worked = true;
      const more = waiting.value.length ? ` (+${waiting.value.length})` : "";
      show(`${task ? `${Math.round(percent(task))}%` : "…"}${more} · Fooocus`, ICONS.busy);
    } else if (worked && own.some(ended)) {
      worked = false;
      unseen = document.hidden;
      show(unseen ? t("title.done") : "Fooocus", unseen ? ICONS.done : ICONS.calm);
    }
  });
}
