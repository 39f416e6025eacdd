// The page's words: one JSON file for each language, English where a language lacks one.
import { computed, effect, signal } from "./lib.js";
import { stored } from "./storage.js";

export const languages = document.documentElement.dataset.languages.split(" ");
export const language = stored("language", preferred());
const words = signal({});

function preferred() {
  const wanted = navigator.languages.map((tag) => tag.toLowerCase().split("-")[0]);
  return wanted.find((tag) => languages.includes(tag)) ?? "en";
}

async function read(name) {
  const answer = await fetch(new URL(`../languages/${name}.json`, import.meta.url));
  return answer.ok ? answer.json() : {};
}

export async function load(name = language.value) {
  const needed = [...new Set(["en", name])].filter((one) => !words.value[one]);
  const found = await Promise.all(needed.map(async (one) => [one, await read(one)]));
  words.value = { ...words.value, ...Object.fromEntries(found) };
  language.value = name;
}

// English where the language lacks a word; but it needs no `key.one` of English's where it has the key itself.
const current = computed(() => {
  const own = words.value[language.value] ?? {};
  const lent = Object.entries(words.value.en ?? {}).filter(([key]) => !(key.endsWith(".one") && key.slice(0, -4) in own));
  return { ...Object.fromEntries(lent), ...own };
});
effect(() => (document.documentElement.lang = language.value === "zh" ? "zh-CN" : language.value));

export function has(key) {
  return key in current.value;
}

// The words of a key, with values put in; where `n` is 1, those of `key.one` if there are any.
export function t(key, values = {}) {
  const text = (values.n === 1 && current.value[`${key}.one`]) || (current.value[key] ?? key);
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function languageName(tag) {
  return new Intl.DisplayNames([tag], { type: "language" }).of(tag);
}
