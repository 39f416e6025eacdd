// Keeps the tasks as they are on the server: one stream of events, taken up again where it broke off.
import { base, headers, reachable } from "./api.js";
import { whoAmI } from "./key.js";
import { drop, endings, look, mine, onPicture, onProgress, put, queue, refresh, running, shownId, waiting } from "./tasks.js";

const AGAIN = 2000; // milliseconds before the stream is asked for again
const BUSY = 5000; // between two looks at places and estimates, which no event tells
const FETCHING = 1000;
let stream = null;
let last = "";
let timer = 0;
let soon = 0;

// Look at the queue as a whole; several reasons at once are one.
function refreshSoon() {
  clearTimeout(soon);
  soon = setTimeout(() => refresh().catch(() => {}), 50);
}

function keepLooking() {
  clearTimeout(timer);
  const busy = running.value || waiting.value.length;
  const wait = queue.value.downloads.length ? FETCHING : BUSY;
  timer = setTimeout(() => (busy ? refresh().catch(() => {}) : Promise.resolve()).finally(keepLooking), wait);
}

const needsAll = (task) => task.task_id === shownId.value || mine.value.includes(task.task_id);

const HANDLERS = {
  reset: refreshSoon,
  submitted: (task) => (put(task), refreshSoon()),
  started: (task) => (put(task), look(task.task_id).catch(() => {}), refreshSoon()),
  progress: onProgress,
  picture: onPicture,
  ended: async (task) => {
    if (needsAll(task)) await look(task.task_id).catch(() => put(task));
    else put(task);
    endings.value += 1;
    refreshSoon();
  },
  deleted: ({ task_ids: ids }) => {
    ids.forEach(drop);
    endings.value += 1;
  },
};

function handle(text) {
  const fields = {};
  for (const line of text.split("\n")) {
    const at = line.indexOf(": ");
    if (at > 0) fields[line.slice(0, at)] = (fields[line.slice(0, at)] ?? "") + line.slice(at + 2);
  }
  if (fields.id) last = fields.id;
  if (fields.event in HANDLERS) HANDLERS[fields.event](JSON.parse(fields.data));
}

async function read(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value.replaceAll("\r\n", "\n")).split("\n\n");
    rest = parts.pop();
    parts.forEach(handle);
  }
}

async function listen(signal) {
  while (!signal.aborted) {
    try {
      const answer = await fetch(`${base}/tasks/events?previews=true`, { headers: headers(last ? { "Last-Event-ID": last } : {}), signal });
      reachable.value = true;
      if (answer.status === 403) return await whoAmI(); // whose refusal asks for another key
      if (answer.ok) await read(answer);
    } catch (error) {
      if (error.name === "AbortError" || error.status === 403) return;
      await refresh().catch(() => {}); // which tells whether it is the server that is gone, or only the stream
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}

// Begin, or begin anew with another key.
export function follow() {
  stream?.abort();
  stream = new AbortController();
  last = "";
  listen(stream.signal);
  keepLooking();
}
