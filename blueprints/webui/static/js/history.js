// The history as one long list, of which only the pages that are looked at are fetched.
import { signal } from "./lib.js";
import { call } from "./api.js";

export const PAGE = 60;
const KEPT = 40; // pages

export const filter = signal({ words: "", status: "" });
export const listing = signal({ total: null, pages: {} });
let asking = new Map();
let era = 0;
let other = false;

function address(page) {
  const query = new URLSearchParams({ query: "history", brief: true, page, page_size: PAGE });
  if (filter.value.words.trim()) query.set("prompt", filter.value.words.trim());
  if (filter.value.status) query.set("status", filter.value.status);
  return `/tasks?${query}`;
}

// Fetch a page once in each era; what is far from it is forgotten.
export function want(page) {
  if (listing.value.pages[page]?.era === era) return Promise.resolve();
  if (!asking.has(page)) asking.set(page, ask(page, era).finally(() => asking.delete(page)));
  return asking.get(page);
}

async function ask(page, of) {
  const { data, headers } = await call("GET", address(page));
  if (of !== era) return;
  const kept = other ? [] : Object.entries(listing.value.pages);
  other = false;
  kept.sort(([one], [another]) => Math.abs(one - page) - Math.abs(another - page));
  const pages = { ...Object.fromEntries(kept.slice(0, KEPT)), [page]: { era, tasks: data.history } };
  listing.value = { total: Number(headers.get("X-Total-Count")), pages };
}

export const at = (index) => listing.value.pages[Math.floor(index / PAGE)]?.tasks[index % PAGE];

export async function taskAt(index) {
  if (index < 0 || index >= listing.value.total) return null;
  await want(Math.floor(index / PAGE));
  return at(index);
}

// Look again: something ended, was deleted, or is searched for (`another` list); what is shown stays until it comes.
export function renew(another = false) {
  era += 1;
  other ||= another;
  asking = new Map();
  return want(0);
}
