// The webhooks of a task: what was sent, what came of it, and sending one again.
import { html, useEffect, useSignal } from "./lib.js";
import { call, get } from "./api.js";
import { t } from "./i18n.js";
import { Dialog, notice } from "./ui.js";

const when = (mills) => (mills ? new Date(mills).toLocaleString() : "—");

export function Deliveries({ task, onClose }) {
  const list = useSignal(null);
  const look = async () => {
    try {
      list.value = await get(`/tasks/${task.task_id}/deliveries`);
    } catch (error) {
      notice(error.message, "error");
    }
  };
  const replay = async (one) => {
    try {
      await call("POST", `/tasks/${task.task_id}/deliveries/${one.id}/replay`);
      await look();
    } catch (error) {
      notice(error.message, "error");
    }
  };
  useEffect(() => {
    look();
  }, []);
  const row = (one) => html`<tr><td>${one.event}</td><td>${one.url}</td><td>${one.attempts}</td><td>${one.answer ?? "—"}</td><td>${when(one.delivered_mills)}</td><td>${when(one.due_mills)}</td>
    <td><button type="button" onClick=${() => replay(one)}>${t("delivery.again")}</button></td></tr>`;
  return html`<${Dialog} title=${t("deliveries")} onClose=${onClose} class="wide">
    ${list.value?.length === 0 && html`<p class="hint">${t("deliveries.none")}</p>`}
    ${list.value?.length > 0 && html`<div class="table-box" tabindex="0" role="region" aria-label=${t("deliveries")}><table><thead><tr>${["event", "url", "attempts", "answer", "delivered", "due"].map((name) => html`<th scope="col">${t(`delivery.${name}`)}</th>`)}<th><span class="visually-hidden">${t("delivery.again")}</span></th></tr></thead><tbody>${list.value.map(row)}</tbody></table></div>`}
  </${Dialog}>`;
}
