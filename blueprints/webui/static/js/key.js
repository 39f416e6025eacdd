// Who asks: the key, whose it is, and the dialog that takes it.
import { html, signal, useSignal } from "./lib.js";
import { caller, get, key } from "./api.js";
import { t } from "./i18n.js";
import { Dialog } from "./ui.js";

export const keyDialog = signal(false);
export const keyAsked = signal(""); // why a key is needed; empty: none is

// Whose key it is; only its refusal asks for another: one that may only draw is refused what the page asks for besides.
// What is told of a key that has been changed meanwhile counts no more.
export async function whoAmI() {
  const sent = key.value;
  const isSent = () => key.value === sent;
  try {
    const found = await get("/whoami");
    if (isSent()) caller.value = found;
  } catch (error) {
    if (isSent()) {
      caller.value = null;
      if (error.status === 403) keyAsked.value = error.message;
    }
    throw error;
  }
}

// A key may be asked for at any time: `again` is what to do once there is one that works.
export function KeyDialog({ again }) {
  const typed = useSignal(key.value);
  const told = useSignal("");
  if (!keyAsked.value && !keyDialog.value) return null;
  const close = () => {
    keyAsked.value = "";
    keyDialog.value = false;
  };
  const submit = async (event) => {
    event.preventDefault();
    key.value = typed.value.trim();
    try {
      await whoAmI();
      close();
      again();
    } catch (error) {
      told.value = error.status === 403 ? t("key.wrong") : error.message;
    }
  };
  const forget = () => {
    key.value = typed.value = "";
    caller.value = null;
    close();
    again();
  };
  const known = caller.value?.name;
  const fault = told.value || (keyAsked.value && key.value ? t("key.wrong") : "");
  return html`<${Dialog} title=${t("key.title")} onClose=${close} class="narrow">
    <form onSubmit=${submit} class="stack">
      <p>${keyAsked.value ? t("key.needed") : known ? t("key.yours", { name: known, scopes: caller.value.scopes.join(", ") }) : t("key.none")}</p>
      ${fault && html`<p class="fault" role="alert">${fault}</p>`}
      <label for="key">${t("key.label")}</label>
      <input id="key" type="password" autocomplete="off" autofocus value=${typed.value} onInput=${(event) => (typed.value = event.target.value)} />
      <p class="hint">${t("key.kept")}</p>
      <div class="row end">
        ${key.value && html`<button type="button" onClick=${forget}>${t("key.forget")}</button>`}
        <button class="primary">${t("key.use")}</button>
      </div>
    </form>
  </${Dialog}>`;
}
