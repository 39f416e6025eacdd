"""Networks that see: captioner and tagger, segmentation, faces, the safety checker, CLIP's vision tower.

The libraries that they are built of are imported where one is loaded: most engines never need them, and transformers
takes three times as long as torch.
"""
