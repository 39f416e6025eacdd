// From the settings to a task: posts the request, and waits and goes on where the server asks for time.
import { signal } from "./lib.js";
import { call } from "./api.js";
import { t } from "./i18n.js";
import { keyAsked } from "./key.js";
import { faults, request, seedLocked, set, settings } from "./settings.js";
import { reveal } from "./reveal.js";
import { labelOf } from "./schema.js";
import { submitted } from "./tasks.js";
import { notice } from "./ui.js";

export const sending = signal(null); // null, or { seconds, reason, cancel } while a request waits to be taken
const BUSY = 5;

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// Count down; false if the person gave up.
async function countdown(seconds, reason) {
  let given = false;
  const cancel = () => (given = true);
  for (let left = seconds; left > 0 && !given; left--) {
    sending.value = { seconds: left, reason, cancel };
    await sleep(1);
  }
  sending.value = given ? null : { seconds: 0, reason, cancel };
  return !given;
}

function refusal(error) {
  if (error.status === 422 && Array.isArray(error.detail)) {
    const found = {};
    for (const fault of error.detail) found[fault.loc.slice(1).join(".")] = fault.msg;
    faults.value = found;
    reveal(Object.keys(found)[0]);
    notice(t("told.faults", { names: Object.keys(found).map((name) => labelOf(name.split(".")[0])).join(", ") }), "error");
  } else if (!keyAsked.value) {
    notice(error.message, "error");
  }
}

// Whether the server only asks for time: too many requests, starting, restarting.
const passing = (error) => error.status === 429 || error.status === 503 || error.status === 0;

export async function generate(more = {}) {
  if (sending.value) return null;
  faults.value = {};
  const body = { ...request(), ...more, async_process: true, stream_output: false };
  const once = { "Idempotency-Key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` };
  sending.value = { seconds: 0, reason: "", cancel: () => {} };
  try {
    for (;;) {
      try {
        const { data } = await call("POST", "/v1/engine/generate/", body, { headers: once });
        submitted(data);
        document.querySelector(".stage")?.scrollIntoView({ block: "nearest" });
        if (seedLocked.value && settings.value.image_seed === undefined) set("image_seed", data.seed);
        return data;
      } catch (error) {
        if (!passing(error)) return refusal(error);
        const reason = error.status === 0 ? t("unreachable") : error.message;
        if (!(await countdown(error.retryAfter || BUSY, reason))) return null;
      }
    }
  } finally {
    sending.value = null;
  }
}
