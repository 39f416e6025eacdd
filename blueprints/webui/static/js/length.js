// How many tokens the prompt has and how many chunks they fill, as the server counts them once nobody types.
import { effect, html, signal } from "./lib.js";
import { call, caller, may } from "./api.js";
import { t } from "./i18n.js";
import { value } from "./settings.js";

const QUIET = 400; // milliseconds after the last letter
const SPARING = 3000; // the same where the server counts how often one asks
const length = signal(null); // { tokens, chunks, room }
let timer = 0;
let newest = 0; // the number of the prompt as it is now; answers to earlier ones are late
let after = 0; // the moment from which the server may be asked again

async function count(prompt) {
  const number = newest;
  try {
    const { data } = await call("POST", "/v1/tools/count-tokens", { prompt });
    if (number === newest) length.value = data;
  } catch (error) {
    if (number === newest) length.value = null; // what is wrong with it is told when it is sent
    after = Date.now() + error.retryAfter * 1000;
  }
}

effect(() => {
  const prompt = value("prompt") ?? "";
  const asks = prompt.trim() && caller.value && may("draw");
  clearTimeout(timer);
  newest += 1;
  if (asks) timer = setTimeout(() => count(prompt), Math.max(caller.value.per_minute ? SPARING : QUIET, after - Date.now()));
  else length.value = null;
});

export function PromptLength() {
  if (!length.value) return html`<span id="prompt-length" class="prompt-length" hidden></span>`;
  const { tokens, chunks, room } = length.value;
  return html`<span id="prompt-length" class="prompt-length" title=${t("length.help", { room })}>${t("length.tokens", { n: tokens })}${chunks > 1 && ` · ${t("length.chunks", { n: chunks })}`}</span>`;
}
