"""What changes or steers a model for one task: LoRA, control nets, image prompts, inpaint engines, the interposer."""
