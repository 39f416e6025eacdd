// The prompt, the buttons beside it, and what is offered while one types.
import { html, signal, useRef } from "./lib.js";
import { t } from "./i18n.js";
import { generate, sending } from "./generate.js";
import { Suggestions, accept, moveChoice, suggest, suggestions } from "./hints.js";
import { PromptLength } from "./length.js";
import { Offer, offerPasted } from "./pasted.js";
import { caller, may } from "./api.js";
import { faults, open, panels, set, value } from "./settings.js";
import { cancel, running, shown, ended, skip } from "./tasks.js";
import { act, Icon } from "./ui.js";

export const prompt = signal(null); // the text area, for those who put words into it

function Buttons() {
  const task = running.value ?? (shown.value && !ended(shown.value) ? shown.value : null);
  const wait = sending.value;
  const denied = caller.value && !may("draw");
  return html`<div class="buttons">
    <button type="button" class="primary generate" id="generate" disabled=${Boolean(wait) || denied} title=${denied ? t("key.maynot") : "Ctrl + Enter"} onClick=${() => generate()}>
      ${wait?.seconds ? t("generate.wait", { n: wait.seconds }) : t("generate")}
    </button>
    ${wait?.reason && html`<button type="button" onClick=${wait.cancel}>${t("cancel")}</button>`}
    ${task && html`<div class="row"><button type="button" id="skip" disabled=${task.task_status !== "running"} onClick=${() => act(skip(task.task_id))}>${t("skip")}</button>
      <button type="button" id="stop" class="stop" onClick=${() => act(cancel(task.task_id))}>${t("stop")}</button></div>`}
  </div>`;
}

function Toggle({ icon, name, children }) {
  const on = panels.value[name];
  return html`<button type="button" class="toggle" id=${`toggle-${name}`} aria-expanded=${Boolean(on)} onClick=${() => open({ [name]: !on })}><${Icon} name=${icon} />${children}</button>`;
}

export function Composer() {
  const element = useRef();
  const typed = (event) => {
    set("prompt", event.target.value);
    suggest(event.target);
  };
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      generate();
    } else if (suggestions.value.length) {
      moveChoice(event, element.current);
    }
  };
  prompt.value = element;
  const fault = faults.value.prompt;
  const listed = suggestions.value.length > 0;
  return html`<section class="composer" aria-label=${t("composer")}>
    <${Offer} />
    ${sending.value?.reason && html`<p class="waiting" role="status">${sending.value.reason}</p>`}
    <div class="prompt-row">
      <div class="prompt-box" data-member="prompt">
        <textarea
          id="prompt" ref=${element} rows="2" aria-label=${t("prompt")} placeholder=${t("prompt.placeholder")} value=${value("prompt") ?? ""}
          aria-controls="suggestions" aria-autocomplete="list"
          aria-activedescendant=${listed ? `suggestion-${suggestions.value.findIndex((one) => one.chosen)}` : undefined}
          aria-describedby=${fault ? "prompt-fault" : "prompt-length"}
          onInput=${typed} onKeyDown=${keys} onPaste=${offerPasted} onBlur=${() => (suggestions.value = [])}
        ></textarea>
        <${Suggestions} onChoose=${(at) => accept(element.current, at)} />
        ${fault && html`<p class="fault" id="prompt-fault">${fault}</p>`}
      </div>
      <${Buttons} />
    </div>
    <div class="toggles">
      <${Toggle} icon="image" name="input">${t("input")}</${Toggle}>
      <${Toggle} icon="settings" name="settings">${t("settings")}</${Toggle}>
      <${PromptLength} /><span class="summary">${summary()}</span>
    </div>
  </section>`;
}

function summary() {
  const size = String(value("aspect_ratios_selection") ?? "").replace(/[*x]/, "×");
  return [value("performance_selection"), size, t("pictures.n", { n: value("image_number") ?? 1 })].filter(Boolean).join(" · ");
}
