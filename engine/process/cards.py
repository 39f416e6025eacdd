"""`python -m engine.process.cards` prints how many graphics cards torch can draw with, as the environment lets it see.

A process of its own: importing torch takes seconds, and the web process never does.
"""

from __future__ import annotations

import torch

if __name__ == "__main__":
    print(torch.cuda.device_count() if torch.cuda.is_available() else 0)
