// Starts the page: words, schema, what is under way; then one of three views, by the address.
import { effect, html, render, signal } from "./lib.js";
import { ApiError, reachable } from "./api.js";
import { load, t } from "./i18n.js";
import { follow } from "./follow.js";
import { Gallery } from "./gallery.js";
import { Header, VIEWS } from "./header.js";
import { InputPanel } from "./inputs.js";
import { KeyDialog, keyAsked, whoAmI } from "./key.js";
import { Lightbox } from "./lightbox.js";
import { Panel } from "./panel.js";
import { pasteAnywhere } from "./picture.js";
import { watchTitle } from "./progress.js";
import { Composer } from "./prompt.js";
import { Queue } from "./queue.js";
import { loadLists, loadSchema, openapi } from "./schema.js";
import { panels, restorePictures } from "./settings.js";
import { Stage } from "./stage.js";
import { restore } from "./tasks.js";
import { Confirmation, notice, Notices } from "./ui.js";

const viewNow = () => VIEWS.find((name) => location.hash === `#/${name}`) ?? "draw";
const view = signal(viewNow());
addEventListener("hashchange", () => (view.value = viewNow()));
addEventListener("paste", (event) => view.value === "draw" && pasteAnywhere(event));

function Draw() {
  const { input, settings } = panels.value;
  return html`<div class="draw ${settings ? "with-panel" : ""} ${input ? "with-inputs" : ""}">
    <div class="work"><${Stage} />${input && html`<${InputPanel} />`}</div>
    ${settings && html`<${Panel} />`}
    <${Composer} />
  </div>`;
}

const INSIDE = { draw: Draw, gallery: Gallery, queue: Queue };

function skip(event) {
  event.preventDefault();
  (document.getElementById("prompt") ?? document.getElementById("main")).focus();
}

function App() {
  return html`<a class="skip-link" href="#main" onClick=${skip}>${t("skip.link")}</a>
    <${Header} view=${view.value} />
    ${!reachable.value && html`<p class="offline" role="alert">${t("unreachable")}</p>`}
    <main id="main" tabindex="-1" class="view view-${view.value}"><h1 class="visually-hidden">${t(`view.${view.value}`)}</h1><${INSIDE[view.value]} /></main>
    <${Lightbox} /><${KeyDialog} again=${begin} /><${Confirmation} /><${Notices} />`;
}

const quietly = (work) => work().catch((error) => (error instanceof ApiError && [0, 403].includes(error.status) ? null : notice(error.message, "error")));

// What needs a key: who one is, the lists, the tasks.
async function begin() {
  for (; !openapi.value; await quietly(loadSchema)) await new Promise((resolve) => setTimeout(resolve, 1500));
  await quietly(whoAmI);
  if (keyAsked.value) return;
  await Promise.all([quietly(loadLists), quietly(restore)]);
  follow();
}

async function start() {
  await Promise.all([load(), quietly(loadSchema), restorePictures()]);
  const root = document.getElementById("app");
  root.textContent = "";
  render(html`<${App} />`, root);
  watchTitle();
  await begin();
}

// A server that was away: what it did not tell is asked for again.
let away = false;
effect(() => {
  const back = reachable.value && away;
  away = !reachable.value;
  if (back && openapi.value) setTimeout(begin, 0);
});


start();
