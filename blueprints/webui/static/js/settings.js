// What the next request will say: the members that were set, kept in the browser, and the pictures that go with them.
import { signal } from "./lib.js";
import { defaultOf, members } from "./schema.js";
import { keepPictures, keptPictures, stored } from "./storage.js";

export const settings = stored("settings", {});
export const panels = stored("panels", { settings: false, input: false, tab: "settings", inputTab: "uov", developer: false });
export const seedLocked = stored("seedLocked", false);
export const pictures = signal({}); // by slot: uov, inpaint, mask, enhance, cn0 to cn3
export const faults = signal({}); // by member: what the server refuses

export const SLOTS = { uov_input_image: "uov", inpaint_input_image: "inpaint", inpaint_mask_image_upload: "mask", enhance_input_image: "enhance" };
export const CONTROLS = 4;
// What suits each kind of image prompt: part of the steps, weight; the server takes them where a request has null.
const OWN_VALUES = { ImagePrompt: [0.5, 0.6], FaceSwap: [0.9, 0.75], PyraCanny: [0.5, 1], CPDS: [0.5, 1] };
const OF_THE_REQUEST = new Set(["stream_output", "async_process", "current_tab", "input_image_checkbox", "cancel_on_disconnect", "inpaint_mask_upload_checkbox", "inpaint_advanced_masking_checkbox", "webhook_url", "webhook_events", "priority"]);

export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export function value(name) {
  return settings.value[name] ?? defaultOf(name);
}

export function set(name, wanted) {
  settings.value = { ...settings.value, [name]: wanted };
  if (faults.value[name]) faults.value = { ...faults.value, [name]: undefined };
}

export function unset(...names) {
  const rest = { ...settings.value };
  names.forEach((name) => delete rest[name]);
  settings.value = rest;
}

export function open(more) {
  panels.value = { ...panels.value, ...more };
}

export function reset() {
  settings.value = settings.value.prompt ? { prompt: settings.value.prompt } : {};
  faults.value = {};
}

// Put a picture into a slot, null: take it out.
export function setPicture(slot, picture) {
  const rest = { ...pictures.value };
  delete rest[slot];
  if (slot === "inpaint") delete rest.mask;
  pictures.value = picture ? { ...rest, [slot]: picture } : rest;
  keepPictures(pictures.value).catch(() => {});
}

export async function restorePictures() {
  pictures.value = await keptPictures().catch(() => ({}));
}

export function asPicture(text) {
  if (!text || text === "None") return null;
  return /^(data:|https?:|\/)/.test(text) ? text : `data:image/png;base64,${text}`;
}

const isList = (name) => [members.value[name].type].flat().includes("array");

// Take over the members of a request or a record; those that equal the defaults, or are no list and should be, are left out.
export function apply(sent, { keepPrompt = false } = {}) {
  const taken = keepPrompt && settings.value.prompt ? { prompt: settings.value.prompt } : {};
  for (const [name, wanted] of Object.entries(sent)) {
    const effect = !/^No effect/.test(members.value[name]?.description ?? "");
    const known = name in members.value && effect && !(name in SLOTS) && !OF_THE_REQUEST.has(name);
    if (known && wanted !== null && Array.isArray(wanted) === isList(name) && !same(wanted, defaultOf(name))) taken[name] = wanted;
  }
  if (taken.loras) taken.loras = taken.loras.filter((one) => one.model_name !== "None");
  const controls = (sent.controlnet_image ?? []).filter((one) => asPicture(one.cn_img));
  delete taken.controlnet_image;
  if (controls.length) taken.controlnet_image = controls.map(({ cn_img: _, ...rest }) => rest);
  settings.value = taken;
  faults.value = {};
  applyPictures(sent, controls);
}

function applyPictures(sent, controls) {
  const found = {};
  for (const [member, slot] of Object.entries(SLOTS)) found[slot] = asPicture(sent[member]);
  controls.forEach((one, at) => (found[`cn${at}`] = asPicture(one.cn_img)));
  const given = Object.fromEntries(Object.entries(found).filter(([, picture]) => picture));
  if (!Object.keys(given).length) return;
  pictures.value = given;
  keepPictures(given).catch(() => {});
  const tab = given.uov ? "uov" : given.inpaint ? "inpaint" : given.enhance ? "enhance" : "ip";
  open({ input: true, inputTab: tab });
}

// What is set of an image prompt, with what suits its kind where nothing is.
export function controlAt(at) {
  const told = settings.value.controlnet_image?.[at] ?? {};
  const type = told.cn_type ?? "ImagePrompt";
  const [stop, weight] = OWN_VALUES[type] ?? [0.5, 1];
  return { cn_type: type, cn_stop: told.cn_stop ?? stop, cn_weight: told.cn_weight ?? weight };
}

function controlImages() {
  const slots = Array.from({ length: CONTROLS }, (_, at) => at).filter((at) => pictures.value[`cn${at}`]);
  return slots.map((at) => ({ ...controlAt(at), cn_img: pictures.value[`cn${at}`] }));
}

// The request as a script would post it.
export function request() {
  const { input, inputTab } = panels.value;
  const { controlnet_image: _, ...body } = settings.value;
  if (body.loras) body.loras = body.loras.map(({ shown: __, ...lora }) => lora);
  const here = pictures.value;
  const mixing = { uov: "mixing_image_prompt_and_vary_upscale", inpaint: "mixing_image_prompt_and_inpaint" }[inputTab];
  if (input && inputTab === "uov" && here.uov) body.uov_input_image = here.uov;
  else delete body.uov_method; // the server refuses what shall be done with a picture where there is none
  if (input && inputTab === "inpaint" && here.inpaint) {
    body.inpaint_input_image = here.inpaint;
    if (here.mask) body.inpaint_mask_image_upload = here.mask;
  } else delete body.outpaint_selections;
  if (input && inputTab === "enhance" && here.enhance) Object.assign(body, { enhance_checkbox: true, enhance_input_image: here.enhance });
  const controls = controlImages();
  if (input && controls.length && (inputTab === "ip" || (mixing && value(mixing)))) body.controlnet_image = controls;
  return body;
}
