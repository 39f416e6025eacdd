"""The least that passes for a model file: names of a UNet and of a VAE, of which nothing can be drawn."""

import numpy as np
from safetensors.numpy import save

NAMES = ("model.diffusion_model.label_emb.0.0.weight", "first_stage_model.x")
EMPTY_MODEL = save({name: np.zeros(1, np.float16) for name in NAMES})
