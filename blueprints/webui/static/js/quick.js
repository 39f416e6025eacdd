// Words to begin with, beside a field that takes a prompt: a press puts them there.
import { html } from "./lib.js";
import { t } from "./i18n.js";

export const DETAILS = ["sharp natural face", "clear bright eyes", "well-formed hand, five fingers", "soft shiny hair", "fine fabric with folds"];
export const PARTS = ["face", "eye", "mouth", "hair", "hand", "person"];

export const QuickList = ({ words, chosen, onChoose }) => html`<div class="chips quick" role="group" aria-label=${t("quick")}>
    ${words.map((word) => html`<button type="button" class="chip" aria-pressed=${word === chosen} lang="en" onClick=${() => onChoose(word)}>${word}</button>`)}
  </div>`;
