// Parameters that were pasted as a text, Fooocus's JSON or a web UI's: offered to be applied, read by the server.
import { html, signal } from "./lib.js";
import { call } from "./api.js";
import { t } from "./i18n.js";
import { pngWithText } from "./png.js";
import { members } from "./schema.js";
import { apply } from "./settings.js";
import { notice } from "./ui.js";

export const offer = signal(null); // { words, no, take }: parameters that came from outside, and what applies them

function isParameters(text) {
  if (/\bSteps: \d+, Sampler: /.test(text)) return true;
  try {
    const found = JSON.parse(text);
    return typeof found === "object" && found !== null && ("prompt" in found || "Prompt" in found);
  } catch {
    return false;
  }
}

export function offerPasted(event) {
  const text = event.clipboardData.getData("text/plain").trim();
  offer.value = text.length > 2 && isParameters(text) ? { words: t("pasted.offer"), no: t("pasted.keep"), take: () => applyText(text) } : null;
}

// A request's own JSON is taken as it is; all else the server reads, out of a picture that carries the text.
async function readText(text) {
  let parsed = null;
  try {
    parsed = JSON.parse(text);
  } catch {
    // No JSON: a web UI's text.
  }
  const own = parsed && Object.keys(parsed).filter((name) => name in members.value);
  if (own?.length && own.length === Object.keys(parsed).length) return parsed;
  const texts = parsed ? { parameters: text, fooocus_scheme: "fooocus" } : { parameters: text };
  const data = await readPicture(pngWithText(texts));
  data.notes.forEach((note) => notice(note));
  if (!Object.keys(data.parameters).length) throw new Error(t("metadata.none"));
  return data.parameters;
}

export async function readPicture(image) {
  return (await call("POST", "/v1/tools/read-metadata", { image })).data;
}

// A picture that was dropped may carry its parameters: offer them, say nothing where it has none.
export async function offerCarried(image) {
  const data = await readPicture(image).catch(() => null);
  if (!data || !Object.keys(data.parameters).length) return;
  const take = async () => {
    apply(data.parameters);
    data.notes.forEach((note) => notice(note));
    notice(t("applied"));
  };
  offer.value = { words: t("carried.offer"), no: t("close"), take };
}

export async function applyText(text) {
  apply(await readText(text));
  notice(t("applied"));
}

export function Offer() {
  if (!offer.value) return null;
  const take = async () => {
    const { take: work } = offer.value;
    offer.value = null;
    await work().catch((error) => notice(error.message, "error"));
  };
  return html`<div class="offer" role="status">
    <span>${offer.value.words}</span>
    <button type="button" class="primary" onClick=${take}>${t("apply")}</button>
    <button type="button" onClick=${() => (offer.value = null)}>${offer.value.no}</button>
  </div>`;
}
