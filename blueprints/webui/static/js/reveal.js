// Brings a member of the request into view, wherever its control is, and puts the focus there.
import { members } from "./schema.js";
import { open } from "./settings.js";

const INPUTS = { "Upscale or Variation": "uov", "Image Prompt": "ip", "Inpaint or Outpaint": "inpaint", Enhance: "enhance" };
export const PLACES = { Settings: "settings", Styles: "styles", Models: "models", Advanced: "advanced" };

export function reveal(path) {
  const [name] = path.split(".");
  const group = members.value[name]?.["x-group"];
  location.hash = "#/draw";
  if (INPUTS[group]) open({ input: true, inputTab: INPUTS[group] });
  else if (name !== "prompt") open({ settings: true, tab: PLACES[group] ?? "advanced", ...(PLACES[group] ? {} : { developer: true }) });
  requestAnimationFrame(() => setTimeout(() => {
    const field = document.querySelector(`[data-member="${path}"]`) ?? document.querySelector(`[data-member="${name}"]`);
    if (field?.closest("details")) field.closest("details").open = true;
    field?.scrollIntoView({ block: "nearest" });
    field?.querySelector("input, select, textarea, button:not(.field-head button)")?.focus();
  }));
}
