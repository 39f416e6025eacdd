"""What lies on disk or must come: model folders, presets, and the files that are fetched."""
