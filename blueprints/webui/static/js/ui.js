// Small parts that every view uses: icons, tabs, dialogs, notices, the live region.
import { html, signal, useLayoutEffect, useRef } from "./lib.js";
import { t } from "./i18n.js";

const PATHS = {
  close: "M6 6l12 12M18 6L6 18",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M14 4v6M6 14v6",
  image: "M4 5h16v14H4zM4 16l5-5 5 5M14 14l2-2 4 4",
  enhance: "M12 3l2 6 6 2-6 2-2 6-2-6-6-2 6-2z",
  lock: "M6 11h12v9H6zM9 11V7a3 3 0 016 0v4",
  unlock: "M6 11h12v9H6zM9 11V7a3 3 0 015.8-1",
  again: "M4 12a8 8 0 108-8H6M9 1L6 4l3 3",
  reset: "M4 12a8 8 0 108-8H6M9 1L6 4l3 3",
  trash: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  up: "M12 19V5M6 11l6-6 6 6",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  undo: "M4 10h10a5 5 0 010 10h-3M8 6l-4 4 4 4",
  globe: "M12 3a9 9 0 100 18 9 9 0 000-18zM3 12h18M12 3c-6 6-6 12 0 18M12 3c6 6 6 12 0 18",
  key: "M14 10a4 4 0 11-4-4 4 4 0 014 4zM13 13l7 7M17 17l2-2",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2",
  moon: "M20 14A8 8 0 0110 4a8 8 0 1010 10z",
};

export const Icon = ({ name }) =>
  html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;

export const IconButton = ({ icon, label, class: more = "", ...rest }) =>
  html`<button type="button" class="icon-button ${more}" title=${label} aria-label=${label} ...${rest}><${Icon} name=${icon} /></button>`;

// A row of tabs; arrows move between them.
export function Tabs({ label, tabs, selected, onSelect, id }) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = tabs.findIndex((tab) => tab.name === selected);
    const next = tabs[(at + step + tabs.length) % tabs.length].name;
    onSelect(next);
    document.getElementById(`${id}-${next}`)?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${move}>
    ${tabs.map(
      (tab) => html`<button
        type="button" role="tab" id=${`${id}-${tab.name}`} class="tab" aria-selected=${tab.name === selected}
        aria-controls=${`${id}-panel`} tabindex=${tab.name === selected ? 0 : -1} onClick=${() => onSelect(tab.name)}
      >${tab.label}</button>`,
    )}
  </div>`;
}

export const TabPanel = ({ id, selected, children }) =>
  html`<div role="tabpanel" id=${`${id}-panel`} aria-labelledby=${`${id}-${selected}`} class="tab-panel">${children}</div>`;

// A modal dialog while it is rendered; Escape and the cross close it.
export function Dialog({ title, onClose, class: more = "", children }) {
  const element = useRef();
  useLayoutEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => before?.focus();
  }, []);
  const outside = (event) => event.target === element.current && onClose();
  return html`<dialog ref=${element} class="dialog ${more}" aria-label=${title} onClose=${onClose} onMouseDown=${outside}>
    <div class="dialog-box">
      <header class="dialog-head"><h2>${title}</h2><${IconButton} icon="close" label=${t("close")} onClick=${onClose} /></header>
      ${children}
    </div>
  </dialog>`;
}

const question = signal(null);

// Ask before something that cannot be taken back; a promise of yes or no.
export function confirm(text, yes) {
  return new Promise((resolve) => (question.value = { text, yes, resolve }));
}

export function Confirmation() {
  if (!question.value) return null;
  const { text, yes, resolve } = question.value;
  const end = (answer) => {
    question.value = null;
    resolve(answer);
  };
  return html`<${Dialog} title=${t("confirm")} onClose=${() => end(false)}>
    <p>${text}</p>
    <div class="row end">
      <button type="button" onClick=${() => end(false)}>${t("cancel")}</button>
      <button type="button" class="danger" autofocus onClick=${() => end(true)}>${yes}</button>
    </div>
  </${Dialog}>`;
}

const notices = signal([]);
const spoken = signal("");
let number = 0;

// Show a sentence for a while; errors stay until they are closed.
export function notice(text, kind = "info") {
  const id = ++number;
  const close = () => (notices.value = notices.value.filter((one) => one.id !== id));
  notices.value = [...notices.value.filter((one) => one.text !== text), { id, text, kind, close }];
  if (kind !== "error") setTimeout(close, 6000);
}

// Tells why work failed, a promise.
export const act = (work) => work.catch((error) => notice(error.message, "error"));

// Tell those who listen instead of looking.
export function say(text) {
  spoken.value = text;
}

export const Notices = () => html`<div class="notices" role="status">
    ${notices.value.map(
      (one) => html`<div key=${one.id} class="notice ${one.kind}"><span>${one.text}</span><${IconButton} icon="close" label=${t("close")} onClick=${one.close} /></div>`,
    )}
  </div>
  <div class="visually-hidden" role="status" aria-live="polite" id="live">${spoken.value}</div>`;

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
