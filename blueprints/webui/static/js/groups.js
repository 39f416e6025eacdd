// Members that have no control of their own here, as /openapi.json groups them: a new one appears by itself.
import { computed, html } from "./lib.js";
import { has, t } from "./i18n.js";
import { Members } from "./fields.js";
import { PLACES } from "./reveal.js";
import { members } from "./schema.js";

// What other modules of the page show.
const ELSEWHERE = new Set([
  ...["prompt", "negative_prompt", "preset", "performance_selection", "aspect_ratios_selection", "image_number", "output_format", "output_quality"],
  ...["image_seed", "style_selections", "base_model_name", "refiner_model_name", "refiner_switch", "loras"],
  ...["uov_input_image", "uov_method", "upscale_multiple", "controlnet_image", "inpaint_input_image", "inpaint_mask_image_upload"],
  ...["inpaint_additional_prompt", "outpaint_selections", "outpaint_distance", "invert_mask_checkbox", "enhance_checkbox"],
  ...["enhance_input_image", "enhance_uov_method", "enhance_uov_processing_order", "enhance_uov_prompt_type", "enhance_ctrls"],
  ...["stream_output", "async_process", "cancel_on_disconnect", "mixing_image_prompt_and_vary_upscale", "mixing_image_prompt_and_inpaint"],
]);

const groupOf = (property) => (/^No effect/.test(property.description ?? "") ? "No effect" : (property["x-group"] ?? "Other"));

// Group names with their members' names, in the order that the server gives.
const groups = computed(() => {
  const found = {};
  for (const [name, property] of Object.entries(members.value)) {
    if (!ELSEWHERE.has(name)) (found[groupOf(property)] ??= []).push(name);
  }
  const order = (name) => members.value[name]["x-order"] ?? 1e9;
  for (const names of Object.values(found)) names.sort((one, other) => order(one) - order(other));
  return Object.entries(found).sort(([one], [other]) => (one === "No effect") - (other === "No effect"));
});

const titleOf = (group) => (has(`group.${group}`) ? t(`group.${group}`) : group);

export function GeneratedGroups({ place }) {
  const here = groups.value.filter(([group]) => (PLACES[group] ?? "developer") === place);
  return here.map(([group, names]) =>
    place === "developer"
      ? html`<details class="group" key=${group} open=${group === "Developer"}><summary>${titleOf(group)}</summary><${Members} names=${names} /></details>`
      : html`<${Members} key=${group} names=${names} />`,
  );
}
