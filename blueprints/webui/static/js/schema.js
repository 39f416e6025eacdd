// What a request may have and what there is to choose from, as the server tells it.
import { computed, signal } from "./lib.js";
import { get } from "./api.js";
import { has, t } from "./i18n.js";

export const openapi = signal(null);
export const lists = signal({ styles: [], presets: [], sizes: [], models: [], loras: [], vaes: [], performances: [], wildcards: [], embeddings: [] });
export const schemas = computed(() => openapi.value?.components.schemas ?? {});
export const members = computed(() => schemas.value.Submission?.properties ?? {});

const LISTS = { styles: "styles", presets: "presets", sizes: "sizes", vaes: "vaes", performances: "performance-modes", wildcards: "wildcards", embeddings: "embeddings" };

export async function loadSchema() {
  openapi.value = await get("/openapi.json");
}

export async function loadLists() {
  const names = Object.keys(LISTS);
  const [all, ...rest] = await Promise.all([
    get("/v1/engines/all-models"),
    ...names.map((name) => get(`/v1/engines/${LISTS[name]}`)),
  ]);
  const found = Object.fromEntries(names.map((name, at) => [name, rest[at]]));
  lists.value = { ...found, models: all.model_filenames, loras: all.lora_filenames };
}

export function propertiesOf(name) {
  return schemas.value[name]?.properties ?? {};
}

export function defaultOf(name) {
  return members.value[name]?.default;
}

// The kind of control that a member gets.
export function kindOf(property) {
  const types = [property.type ?? []].flat();
  if (property.$ref?.endsWith("/Flag") || property.allOf?.[0]?.$ref?.endsWith("/Flag")) return "flag";
  if (property.enum) return "choice";
  if (types.includes("array")) return property.items?.enum ? "choices" : "list";
  if (types.includes("integer") || types.includes("number")) return property.maximum > 1e9 ? "text" : "number";
  return property.maxLength > 10000 ? "long" : "text";
}

export function stepOf(property) {
  if ([property.type].flat().includes("integer")) return 1;
  return property.maximum - property.minimum > 10 ? 0.1 : 0.01;
}

// A member's label: the language's, the server's, or its own name.
export function labelOf(name, property = members.value[name] ?? {}) {
  if (has(`member.${name}`)) return t(`member.${name}`);
  const words = name.replace(/^(enhance|inpaint|cn)_/, "").replace(/_(checkbox|selections?|name)$/, "").replaceAll("_", " ");
  return property["x-label"] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

export function helpOf(name, property = members.value[name] ?? {}) {
  return has(`help.${name}`) ? t(`help.${name}`) : property.description;
}
