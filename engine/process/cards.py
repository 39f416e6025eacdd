"""`python -m engine.process.cards` prints how many graphics cards torch can draw with, as the environment lets it see.

Of other makers' than those that torch calls CUDA's (NVIDIA, AMD) it is one: no variable chooses among them here.
A process of its own: importing torch takes seconds, and the web process never does.
"""

from __future__ import annotations

import torch

from engine.gpu.capabilities import chosen_device

if __name__ == "__main__":
    print(torch.cuda.device_count() if torch.cuda.is_available() else int(chosen_device().type != "cpu"))
