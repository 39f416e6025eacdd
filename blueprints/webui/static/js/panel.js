// The settings panel: hand-made tabs for what everybody changes, generated groups for all else.
import { html } from "./lib.js";
import { t } from "./i18n.js";
import { Basics } from "./basics.js";
import { GeneratedGroups } from "./groups.js";
import { Models } from "./models.js";
import { Presets } from "./presets.js";
import { Styles } from "./styles.js";
import { open, panels } from "./settings.js";
import { TabPanel, Tabs } from "./ui.js";

const TABS = ["settings", "styles", "models", "advanced"];

function Advanced() {
  const on = panels.value.developer;
  return html`<${GeneratedGroups} place="advanced" />
    <label class="check developer"><input type="checkbox" class="switch" checked=${on} onChange=${() => open({ developer: !on })} />${t("developer")}</label>
    ${on && html`<${GeneratedGroups} place="developer" />`}`;
}

const SETTINGS = () => html`<${Presets} /><${Basics} /><${GeneratedGroups} place="settings" />`;
const MODELS = () => html`<${Models} /><${GeneratedGroups} place="models" />`;
const STYLES = () => html`<${Styles} /><${GeneratedGroups} place="styles" />`;
const INSIDE = { settings: SETTINGS, styles: STYLES, models: MODELS, advanced: Advanced };

export function Panel() {
  const { tab } = panels.value;
  return html`<aside class="panel" aria-label=${t("settings")}>
    <${Tabs} id="settings-tab" label=${t("settings")} selected=${tab} onSelect=${(name) => open({ tab: name })} tabs=${TABS.map((name) => ({ name, label: t(`tab.${name}`) }))} />
    <${TabPanel} id="settings-tab" selected=${tab}><${INSIDE[tab] ?? SETTINGS} /></${TabPanel}>
  </aside>`;
}
