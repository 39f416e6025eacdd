// Signals whose value outlives the page: small values in localStorage, pictures in IndexedDB. A browser may forbid both.
import { effect, signal } from "./lib.js";

const PREFIX = "fooocus.";

export function stored(name, initial, place = "localStorage") {
  let first = initial;
  try {
    first = JSON.parse(window[place].getItem(PREFIX + name)) ?? initial;
  } catch {
    // What cannot be read is as if it were not there.
  }
  const kept = signal(first);
  effect(() => {
    const text = JSON.stringify(kept.value);
    try {
      window[place].setItem(PREFIX + name, text);
    } catch {
      // A full or forbidden store: the page works on, and forgets at its end.
    }
  });
  return kept;
}

function database() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open("fooocus", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("pictures");
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export async function keepPictures(pictures) {
  const store = (await database()).transaction("pictures", "readwrite").objectStore("pictures");
  await done(store.put(pictures, "all"));
}

export async function keptPictures() {
  const store = (await database()).transaction("pictures").objectStore("pictures");
  return (await done(store.get("all"))) ?? {};
}
