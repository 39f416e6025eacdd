"""What lies on disk: the catalogue of model files, their hashes and headers, downloads, the built-in set. No torch."""
