import os

import modules.config
from torch import hub


def default_interrogator(image):
    path = os.path.join(modules.config.path_clip_vision, "model_base_caption_capfilt_large.pth")
    if not os.path.exists(path) or not os.path.getsize(path):
        hub.download_url_to_file("https://example.org/" + os.path.basename(path), path)
    return f"a field of {'light' if image.mean() > 127 else 'dark'}"
