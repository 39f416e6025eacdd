"""What changes or steers a model for one task: LoRA, control nets, image prompts, the inpaint engine, the interposer."""
