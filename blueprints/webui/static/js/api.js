// The public API: one function that asks, and what comes back when it refuses.
import { signal } from "./lib.js";
import { stored } from "./storage.js";

export const base = new URL("..", document.baseURI).href.replace(/\/$/, "");
export const key = stored("key", "", "sessionStorage");
export const caller = signal(null); // { name, scopes, … }, null while it is not known
export const reachable = signal(true);

export class ApiError extends Error {
  constructor(status, detail, headers) {
    super(typeof detail === "string" ? detail : (detail ?? []).map((fault) => `${fault.loc?.slice(1).join(".")}: ${fault.msg}`).join("\n"));
    this.status = status;
    this.detail = detail;
    this.retryAfter = Number(headers?.get("Retry-After")) || 0;
  }
}

export function headers(more = {}) {
  return key.value ? { "X-API-KEY": key.value, ...more } : more;
}

async function asked(method, path, options) {
  try {
    const answer = await fetch(base + path, { method, ...options, headers: headers(options.headers) });
    reachable.value = true;
    return answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    reachable.value = false;
    throw new ApiError(0, "unreachable");
  }
}

async function detailOf(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return answer.statusText || `HTTP ${answer.status}`;
  }
}

// Ask; a body is sent as JSON. Gives the answer's JSON and headers, or throws an ApiError.
export async function call(method, path, body, options = {}) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const kind = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await asked(method, path, { ...sent, ...options, headers: { ...kind, ...options.headers } });
  if (!answer.ok) {
    throw new ApiError(answer.status, await detailOf(answer), answer.headers);
  }
  return { data: await answer.json(), headers: answer.headers };
}

export const may = (scope) => !caller.value || caller.value.scopes.includes(scope) || caller.value.scopes.includes("admin");

export async function get(path) {
  return (await call("GET", path)).data;
}

// A picture's address as this page reaches it, whatever host the record names.
export function own(url, width) {
  const found = /\/(?:outputs|inputs)\/[^?#]+/.exec(url ?? "");
  if (!found || url.startsWith("data:")) return url;
  const query = new URL(url, base).searchParams;
  if (width) query.set("w", width);
  const text = query.toString();
  return base + found[0] + (text ? `?${text}` : "");
}
