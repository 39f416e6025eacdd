// Presets of the server and of one's own, and the settings as a whole: reset, export, import, copy.
import { html, useSignal } from "./lib.js";
import { t } from "./i18n.js";
import { Field, useFile, wordsOf } from "./fields.js";
import { helpOf, labelOf, members } from "./schema.js";
import { apply, request, reset, set, settings, unset, value } from "./settings.js";
import { stored } from "./storage.js";
import { act, confirm, download, IconButton, notice } from "./ui.js";

const own = stored("presets", {});
const OWN = "own:";

function Choice() {
  const naming = useSignal(null);
  const current = useSignal("");
  const server = members.value.preset ? wordsOf("preset", members.value.preset, value("preset")) : [];
  const choose = (event) => {
    const chosen = event.target.value;
    current.value = chosen.startsWith(OWN) ? chosen : "";
    if (chosen.startsWith(OWN)) apply(own.value[chosen.slice(OWN.length)], { keepPrompt: true });
    else if (chosen === "initial") unset("preset");
    else set("preset", chosen);
  };
  const keep = (event) => {
    event.preventDefault();
    const name = naming.value.trim();
    if (!name) return;
    const { prompt: _, image_seed: __, ...rest } = settings.value;
    own.value = { ...own.value, [name]: rest };
    naming.value = null;
    current.value = OWN + name;
    notice(t("preset.kept", { name }));
  };
  const forget = async () => {
    const name = current.value.slice(OWN.length);
    if (!(await confirm(t("preset.sure", { name }), t("delete")))) return;
    const { [name]: _, ...rest } = own.value;
    own.value = rest;
    current.value = "";
  };
  const shown = current.value || (value("preset") ?? "initial");
  return html`<${Field} path="preset" label=${labelOf("preset")} help=${helpOf("preset")}>
    ${(id, describedBy) => html`<div class="row">
      <select id=${id} class="grow" aria-describedby=${describedBy} value=${shown} onChange=${choose}>
        <optgroup label=${t("preset.server")}>${server.map((name) => html`<option value=${name} selected=${name === shown}>${name === "initial" ? t("preset.initial") : name}</option>`)}</optgroup>
        ${Object.keys(own.value).length > 0 && html`<optgroup label=${t("preset.own")}>${Object.keys(own.value).map((name) => html`<option value=${OWN + name} selected=${OWN + name === shown}>${name}</option>`)}</optgroup>`}
      </select>
      ${current.value && html`<${IconButton} icon="trash" label=${t("preset.delete")} onClick=${forget} />`}
      <button type="button" onClick=${() => (naming.value = "")}>${t("preset.keep")}</button>
    </div>
    ${naming.value !== null && html`<form class="row" onSubmit=${keep}>
      <input type="text" class="grow" aria-label=${t("preset.name")} placeholder=${t("preset.name")} maxlength="80" autofocus value=${naming.value} onInput=${(event) => (naming.value = event.target.value)} />
      <button class="primary">${t("save")}</button>
    </form>`}`}
  </${Field}>`;
}

export function Presets() {
  const copying = useSignal(null); // the dialog, once it was asked for
  const [file, choose] = useFile("application/json,.json", async ([chosen]) => {
    try {
      apply(JSON.parse(await chosen.text()));
      notice(t("applied"));
    } catch (error) {
      notice(t("import.failed", { error: error.message }), "error");
    }
  });
  const save = () => download(new Blob([JSON.stringify(request(), null, 2)], { type: "application/json" }), "fooocus.json");
  const copy = () => act(import("./copy.js").then(({ CopyDialog }) => (copying.value = CopyDialog)));
  const clear = async () => {
    if (await confirm(t("reset.sure"), t("reset"))) reset();
  };
  return html`<${Choice} />
    <div class="row wrap whole">
      <button type="button" onClick=${clear}>${t("reset")}</button>
      <button type="button" onClick=${save}>${t("export")}</button>
      <button type="button" onClick=${choose}>${t("import")}</button>${file}
      <button type="button" onClick=${copy}>${t("copy")}</button>
    </div>
    ${copying.value && html`<${copying.value} onClose=${() => (copying.value = null)} />`}`;
}
