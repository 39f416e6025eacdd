"""Networks that see: captioner and tagger, segmentation, faces, the safety checker, CLIP's vision tower."""
