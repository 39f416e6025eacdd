"""Model files: the catalogue, loaders and the networks they make."""
