// All that was drawn: a grid of any length of which only what is in view exists, with search, filter and selection.
import { html, signal, useEffect, useRef, useSignal } from "./lib.js";
import { own } from "./api.js";
import { t } from "./i18n.js";
import { deleteTasks, fileName } from "./actions.js";
import { PAGE, at, filter, listing, renew, taskAt, want } from "./history.js";
import { openLightbox } from "./lightbox.js";
import { endings, promptOf } from "./tasks.js";
import { download, notice } from "./ui.js";

const LEAST = 168; // pixels of a card's width
const CAPTION = 52;
const GAP = 12;
const STATUSES = ["", "finished", "failed", "stop"];
const chosen = signal({}); // by task_id: the record

async function saveZip() {
  const urls = Object.values(chosen.value).flatMap((task) => task.result ?? []);
  notice(t("zip.begun", { n: urls.length }));
  try {
    const { zip } = await import("./zip.js");
    const files = [];
    for (const url of urls) {
      const answer = await fetch(own(url));
      if (answer.ok) files.push([fileName(own(url)), new Uint8Array(await answer.arrayBuffer())]);
      else notice(t("zip.missing", { name: fileName(own(url)) }), "error");
    }
    download(zip(files), "fooocus.zip");
  } catch (error) {
    notice(error.message, "error");
  }
}

function Card({ index, width, left, top }) {
  const task = at(index);
  const place = { width: `${width}px`, height: `${width + CAPTION}px`, transform: `translate(${left}px, ${top}px)` };
  if (!task) return html`<div class="card empty" style=${place} aria-hidden="true"></div>`;
  const picked = task.task_id in chosen.value;
  const pick = () => {
    const { [task.task_id]: _, ...rest } = chosen.value;
    chosen.value = picked ? rest : { ...rest, [task.task_id]: task };
  };
  const url = task.result?.[0];
  const words = promptOf(task) || t("prompt.none");
  return html`<div class="card ${picked ? "picked" : ""}" style=${place} role="listitem" aria-setsize=${listing.value.total} aria-posinset=${index + 1}>
    <button type="button" class="card-open" onClick=${() => openLightbox({ [index]: task }, index, 0, taskAt)}>
      ${url ? html`<img src=${own(url, 320)} alt=${words} loading="lazy" decoding="async" />` : html`<span class="card-status ${task.task_status}">${t(`status.${task.task_status}`)}</span><span class="visually-hidden">${words}</span>`}
      ${task.result?.length > 1 && html`<span class="card-count">${task.result.length}</span>`}
    </button>
    <input type="checkbox" class="card-pick" checked=${picked} onChange=${pick} aria-label=${t("card.pick", { prompt: words })} />
    <p class="card-words" title=${words}>${words}</p>
  </div>`;
}

function Grid() {
  const box = useRef();
  const view = useSignal({ width: 0, height: 0, top: 0 });
  useEffect(() => {
    const measure = () => {
      const element = box.current;
      if (element) view.value = { width: element.clientWidth, height: element.clientHeight, top: element.scrollTop };
    };
    const watcher = new ResizeObserver(measure);
    watcher.observe(box.current);
    box.current.addEventListener("scroll", measure, { passive: true });
    measure();
    return () => watcher.disconnect();
  }, []);
  const { width, height, top } = view.value;
  const total = listing.value.total ?? 0;
  const columns = Math.max(2, Math.floor((width + GAP) / (LEAST + GAP)));
  const card = Math.floor((width - GAP * (columns - 1)) / columns);
  const row = card + CAPTION + GAP;
  const first = Math.max(0, Math.floor(top / row) - 1) * columns;
  const last = Math.min(total, (Math.ceil((top + height) / row) + 1) * columns);
  useEffect(() => {
    for (let page = Math.floor(first / PAGE); width && page <= Math.floor(Math.max(first, last - 1) / PAGE); page++) want(page).catch((error) => notice(error.message, "error"));
  }, [first, last, width > 0, listing.value.pages]);
  const cards = [];
  for (let index = first; index < last; index++) {
    cards.push(html`<${Card} key=${index} index=${index} width=${card} left=${(index % columns) * (card + GAP)} top=${Math.floor(index / columns) * row} />`);
  }
  return html`<div class="grid-box" ref=${box} tabindex="0" role="region" aria-label=${t("view.gallery")}>
    ${total > 0 ? html`<div class="grid" role="list" style=${{ height: `${Math.ceil(total / columns) * row}px` }}>${cards}</div>` : listing.value.total === 0 && html`<p class="hint empty-list">${t(filter.value.words || filter.value.status ? "nothing.found" : "gallery.empty")}</p>`}
  </div>`;
}

function Selection() {
  const count = Object.keys(chosen.value).length;
  const remove = async () => {
    const done = await deleteTasks(Object.keys(chosen.value)).catch((error) => notice(error.message, "error"));
    if (done) chosen.value = {};
  };
  if (!count) return null;
  return html`<div class="row wrap selection" role="toolbar" aria-label=${t("selection")}><span>${t("chosen", { n: count })}</span>
    <button type="button" onClick=${saveZip}>${t("zip")}</button>
    <button type="button" class="danger" onClick=${remove}>${t("delete")}</button>
    <button type="button" onClick=${() => (chosen.value = {})}>${t("chosen.none")}</button></div>`;
}

export function Gallery() {
  const timer = useRef(0);
  const again = (another) => renew(another).catch((error) => notice(error.message, "error"));
  useEffect(() => {
    again(false);
  }, [endings.value]);
  const search = (more) => {
    filter.value = { ...filter.value, ...more };
    clearTimeout(timer.current);
    timer.current = setTimeout(() => again(true), 250);
  };
  return html`<section class="gallery">
    <div class="row wrap gallery-bar">
      <input type="search" class="grow" aria-label=${t("gallery.search")} placeholder=${t("gallery.search")} value=${filter.value.words} onInput=${(event) => search({ words: event.target.value })} />
      <select aria-label=${t("gallery.status")} value=${filter.value.status} onChange=${(event) => search({ status: event.target.value })}>
        ${STATUSES.map((name) => html`<option value=${name}>${t(name ? `status.${name}` : "status.all")}</option>`)}
      </select>
      <span class="hint" role="status">${listing.value.total === null ? "" : t("gallery.total", { n: listing.value.total })}</span>
    </div>
    <${Selection} />
    <${Grid} />
  </section>`;
}
