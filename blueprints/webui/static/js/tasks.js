// All tasks that this page knows: those that wait and run, followed together, and the ends of its own.
import { computed, signal } from "./lib.js";
import { call, get, may } from "./api.js";
import { t } from "./i18n.js";
import { stored } from "./storage.js";
import { say } from "./ui.js";

export const tasks = signal({}); // by task_id: the record, with `message` while it runs, and `ends_at`, the moment it is thought to end
export const shownId = stored("shown", null); // the task that the stage shows
export const queue = signal({ paused: false, pending: 0, running: null, downloads: [] });
export const endings = signal(0); // counts ends, so that lists know when to look again
export const mine = stored("mine", [], "sessionStorage"); // tasks that this tab submitted

const ENDED = new Set(["finished", "failed", "stop"]);
const MOST_MINE = 200;

export const ended = (task) => ENDED.has(task.task_status);
export const allRunning = computed(() => Object.values(tasks.value).filter((task) => task.task_status === "running")); // one for each engine
export const running = computed(() => allRunning.value.find((task) => mine.value.includes(task.task_id)) ?? allRunning.value[0]);
export const waiting = computed(() =>
  Object.values(tasks.value)
    .filter((task) => task.task_status === "pending")
    .sort((one, other) => (one.queue_position ?? 1e9) - (other.queue_position ?? 1e9)),
);
export const shown = computed(() => running.value ?? tasks.value[shownId.value]);

export function put(task) {
  const before = tasks.value[task.task_id];
  if (before && ended(before) && !ended(task)) return;
  const told = task.eta_seconds > 0 ? { ends_at: Date.now() + task.eta_seconds * 1000 } : {};
  const { preview, ...known } = { ...before, ...task, ...told };
  tasks.value = { ...tasks.value, [task.task_id]: ended(known) ? known : { ...known, preview } };
  if (task.task_status === "running") shownId.value = task.task_id;
  if (ended(task) && before && !ended(before)) tellEnd(task);
}

export function drop(id) {
  const { [id]: _, ...rest } = tasks.value;
  tasks.value = rest;
}

function tellEnd(task) {
  if (!mine.value.includes(task.task_id)) return;
  const words = { finished: "told.finished", failed: "told.failed", stop: "told.stopped" };
  say(t(words[task.task_status], { n: task.pictures_done }));
}

export const promptOf = (task) => task.req_params?.prompt ?? task.prompt ?? "";

export function onProgress({ task_id: id, ...more }) {
  const task = tasks.value[id];
  if (task && !ended(task)) put({ ...more, task_id: id, task_status: "running" });
}

export function onPicture({ task_id: id, url, index }) {
  const task = tasks.value[id];
  if (!task || ended(task)) return;
  const result = [...(task.result ?? [])];
  result[index] = url;
  put({ task_id: id, task_status: "running", result, pictures_done: result.filter(Boolean).length });
  const total = task.req_params?.image_number ?? 1;
  if (total > 1 && mine.value.includes(id)) say(t("told.picture", { n: index + 1, total }));
}

export function submitted(task) {
  mine.value = [...mine.value, task.task_id].slice(-MOST_MINE);
  if (!running.value) shownId.value = task.task_id;
  put(task);
}

export async function look(id) {
  try {
    put(await get(`/tasks/${id}`));
  } catch (error) {
    if (error.status === 404) drop(id);
    else throw error;
  }
}

// The task with its parameters, which lists leave out.
export const whole = (task) => (task.req_params ? Promise.resolve(task) : get(`/tasks/${task.task_id}`));

// A list tells nothing of what an event told of a task that runs: its pictures and its newest progress.
function putListed({ result, progress, ...task }) {
  const known = tasks.value[task.task_id]?.task_status === "running";
  put(known ? task : { ...task, result, progress });
}

// A key that may not list tasks may look at its own.
const lookAtOwn = () => Promise.all(mine.value.filter((id) => !tasks.value[id] || !ended(tasks.value[id])).map(look));

// What ended is kept while it is shown, and where this tab submitted it: a page stays open for days.
function forgetEnded() {
  const isKept = ([id, task]) => !ended(task) || id === shownId.value || mine.value.includes(id);
  tasks.value = Object.fromEntries(Object.entries(tasks.value).filter(isKept));
}

// What waits and runs now; what did before and does no longer has ended.
async function lookAtAll() {
  const [current, pending, state] = await Promise.all([
    get("/tasks?query=current&brief=true"),
    get("/tasks?query=pending&page_size=500&brief=true"),
    get("/v1/engine/queue"),
  ]);
  queue.value = state;
  const active = [...current.current, ...pending.pending];
  active.forEach(putListed);
  const ids = new Set(active.map((task) => task.task_id));
  const gone = Object.values(tasks.value).filter((task) => !ended(task) && !ids.has(task.task_id));
  await Promise.all(gone.map((task) => look(task.task_id)));
}

export async function refresh() {
  await (may("read") ? lookAtAll() : lookAtOwn());
  forgetEnded();
}

export async function restore() {
  await refresh();
  const wanted = running.value?.task_id ?? shownId.value;
  if (wanted && !tasks.value[wanted]?.req_params) await look(wanted);
}

export const cancel = async (id) => put((await call("POST", `/tasks/${id}/cancel`)).data);
export const skip = (id) => call("POST", `/v1/engine/control?action=skip&task_id=${id}`);

export async function pause(paused) {
  queue.value = (await call("POST", `/v1/engine/queue/${paused ? "pause" : "resume"}`)).data;
}

export async function remove(id) {
  await call("DELETE", `/tasks/${id}`).catch((error) => {
    if (error.status !== 404) throw error; // it is gone already
  });
  drop(id);
  if (shownId.value === id) shownId.value = null;
}
