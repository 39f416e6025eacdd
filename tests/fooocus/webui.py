# The page: what its controls hold before anybody touches them. Nothing imports it.
import gradio as gr

translate_prompts = gr.Checkbox(label="Translate", value=False)
