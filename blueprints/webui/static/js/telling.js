// A request's members in words, as lists of parameters show them; what says nothing is left out.
import { html } from "./lib.js";
import { own } from "./api.js";
import { t } from "./i18n.js";
import { defaultOf, labelOf, members } from "./schema.js";
import { asPicture, same } from "./settings.js";

const FIRST = ["prompt", "negative_prompt", "image_seed"];
const UNSAID = new Set(["async_process", "stream_output", "webhook_events"]);

const KINDS = {
  loras: (list) => list.filter((one) => one.enabled !== false && one.model_name !== "None").map((one) => `${one.model_name} (${one.weight})`).join(", "),
  controlnet_image: (list) => list.filter((one) => asPicture(one.cn_img)).map((one) => `${one.cn_type} (${one.cn_weight})`).join(", "),
  enhance_ctrls: (list) => list.filter((one) => one.enhance_enabled).map((one) => one.enhance_mask_dino_prompt || one.enhance_mask_model).join(", "),
};

function words(name, value) {
  if (name in KINDS && Array.isArray(value)) return KINDS[name](value);
  if (typeof value === "string" && value.startsWith("data:")) return t("picture");
  if (/^https?:\/\/\S+\/(?:inputs|outputs)\/\S+$/.test(value)) return html`<img src=${own(value)} alt=${labelOf(name)} loading="lazy" decoding="async" />`;
  return Array.isArray(value) ? value.join(", ") : String(value);
}

const isTold = (name, value) =>
  name in members.value && !UNSAID.has(name) && value !== null && value !== "" && !/^No effect/.test(members.value[name].description ?? "") && !same(value, defaultOf(name));

export function Parameters({ params, more = [] }) {
  const names = [...FIRST, ...Object.keys(params).filter((name) => !FIRST.includes(name))].filter((name) => isTold(name, params[name] ?? null));
  const rows = [...names.map((name) => [labelOf(name), words(name, params[name])]), ...more].filter(([, text]) => text);
  return html`<dl class="parameters">${rows.map(([label, text]) => html`<dt>${label}</dt><dd class=${text.length > 200 ? "long" : ""}>${text}</dd>`)}</dl>`;
}
