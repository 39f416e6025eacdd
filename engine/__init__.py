"""The generation engine: parameters in, pictures and events out. Importing this package loads no torch."""
