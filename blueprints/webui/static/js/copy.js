// The request as a command of the shell and as Python, with the kind of answer that a script wants.
import { html, useSignal } from "./lib.js";
import { base, key } from "./api.js";
import { t } from "./i18n.js";
import { labelOf } from "./schema.js";
import { request } from "./settings.js";
import { Dialog, notice, TabPanel, Tabs } from "./ui.js";

const URL_PATH = "/v1/engine/generate/";
const KINDS = ["record", "async_process", "stream_output", "picture"];
const WORDS = { curl: asCurl, python: asPython, json: (body) => JSON.stringify(body, null, 2) };

const LONGEST = 30000; // characters of a shell command; systems take some 130,000 of a word, Windows fewer of a line
const SHOWN = 60; // of a picture that is part of the request; what is copied has all of it

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// The text as it is shown: pictures are cut short.
const shortened = (text) => text.replace(/(data:image\/[\w.+-]+;base64,[\w+/]{40})([\w+/=]+)/g, (all, start, rest) => (rest.length > SHOWN ? `${start}… ${t("copy.more", { n: Math.round(rest.length / 1024) })}` : all));

function asCurl(body, kind) {
  const lines = [`curl${kind === "stream_output" ? " -N" : ""}`, "-H 'Content-Type: application/json'"];
  if (kind === "picture") lines.push("-H 'Accept: image/png' -o picture.png");
  if (key.value) lines.push("-H 'X-API-KEY: YOUR-KEY'");
  const text = JSON.stringify(body);
  if (text.length <= LONGEST) return [...lines, `-d ${quoted(text)}`, base + URL_PATH].join(" \\\n  ");
  return `${[...lines, "--data-binary @-", base + URL_PATH].join(" \\\n  ")} <<'REQUEST'\n${text}\nREQUEST\n`;
}

// JSON's words in Python's.
function asLiteral(value, indent = "") {
  const deeper = `${indent}    `;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((one) => asLiteral(one, deeper)).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const lines = Object.entries(value).map(([name, one]) => `${deeper}${JSON.stringify(name)}: ${asLiteral(one, deeper)},\n`);
  return lines.length ? `{\n${lines.join("")}${indent}}` : "{}";
}

function asPython(body, kind) {
  const headers = { ...(kind === "picture" ? { Accept: "image/png" } : {}), ...(key.value ? { "X-API-KEY": "YOUR-KEY" } : {}) };
  const more = [Object.keys(headers).length ? `, headers=${asLiteral(headers)}` : "", kind === "stream_output" ? ", stream=True" : ""].join("");
  const ends = {
    picture: 'with open("picture.png", "wb") as file:\n    file.write(answer.content)',
    stream_output: "for line in answer.iter_lines():\n    print(line.decode())",
  };
  return `import requests\n\nbody = ${asLiteral(body)}\nanswer = requests.post(${JSON.stringify(base + URL_PATH)}, json=body${more})\nanswer.raise_for_status()\n${ends[kind] ?? "print(answer.json())"}\n`;
}

export function CopyDialog({ onClose }) {
  const language = useSignal("curl");
  const kind = useSignal("record");
  const stays = useSignal(true);
  const more = { async_process: { async_process: true }, stream_output: { stream_output: true, ...(stays.value ? {} : { cancel_on_disconnect: true }) } };
  const text = WORDS[language.value]({ ...request(), ...more[kind.value] }, kind.value);
  const copy = () => navigator.clipboard.writeText(text).then(() => notice(t("copied")), () => notice(t("copy.failed"), "error"));
  const tabs = [{ name: "curl", label: "curl" }, { name: "python", label: "Python" }, { name: "json", label: "JSON" }];
  return html`<${Dialog} title=${t("copy.title")} onClose=${onClose} class="wide">
    <div class="field" data-member="async_process stream_output"><label for="copy-kind">${t("copy.kind")}</label>
      <select id="copy-kind" value=${kind.value} onChange=${(event) => (kind.value = event.target.value)}>${KINDS.map((name) => html`<option value=${name}>${t(`copy.${name}`)}</option>`)}</select></div>
    <div class="field inline" data-member="cancel_on_disconnect" hidden=${kind.value !== "stream_output"}><label for="copy-stays">${labelOf("cancel_on_disconnect")}</label>
      <input type="checkbox" class="switch" id="copy-stays" checked=${!stays.value} onChange=${(event) => (stays.value = !event.target.checked)} /></div>
    <${Tabs} id="copy" label=${t("copy.title")} tabs=${tabs} selected=${language.value} onSelect=${(name) => (language.value = name)} />
    <${TabPanel} id="copy" selected=${language.value}><pre class="code" tabindex="0"><code>${shortened(text)}</code></pre></${TabPanel}>
    <div class="row end"><button type="button" class="primary" onClick=${copy}>${t("copy.do")}</button></div>
  </${Dialog}>`;
}
