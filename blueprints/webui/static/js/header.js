// The bar at the top: views, language, light or dark, key.
import { effect, html } from "./lib.js";
import { base, caller } from "./api.js";
import { language, languageName, languages, load, t } from "./i18n.js";
import { keyDialog } from "./key.js";
import { stored } from "./storage.js";
import { allRunning, waiting } from "./tasks.js";
import { Icon, IconButton } from "./ui.js";

export const VIEWS = ["draw", "gallery", "queue"];
const theme = stored("theme", "");
effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

const isDark = () => (theme.value || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

// A hash alone would lead to the page's base.
const addressOf = (name) => `${location.pathname}${location.search}#/${name}`;

export function Header({ view }) {
  const busy = waiting.value.length + allRunning.value.length;
  return html`<header class="bar">
    <a class="brand" href=${addressOf("draw")} aria-label="Fooocus"><span class="brand-mark" aria-hidden="true"></span><span class="brand-name">Fooocus</span></a>
    <nav aria-label=${t("nav")}>
      ${VIEWS.map((name) => html`<a href=${addressOf(name)} class="nav-link" aria-current=${name === view ? "page" : undefined}>
        ${t(`view.${name}`)}${name === "queue" && busy > 0 && html`<span class="count" aria-label=${t("queue.count", { n: busy })}>${busy}</span>`}
      </a>`)}
    </nav>
    <div class="tools">
      <a class="docs-link" href=${`${base}/docs`} target="_blank" rel="noopener">API</a>
      <span class="language-box"><${Icon} name="globe" /><select class="language" aria-label=${t("language")} value=${language.value} onChange=${(event) => load(event.target.value)}>
        ${languages.map((tag) => html`<option value=${tag} selected=${tag === language.value} lang=${tag}>${languageName(tag)}</option>`)}
      </select></span>
      <${IconButton} icon=${isDark() ? "sun" : "moon"} label=${t(isDark() ? "theme.light" : "theme.dark")} onClick=${() => (theme.value = isDark() ? "light" : "dark")} />
      <${IconButton} icon="key" label=${caller.value?.name ? t("key.of", { name: caller.value.name }) : t("key.title")} onClick=${() => (keyDialog.value = true)} />
    </div>
  </header>`;
}
