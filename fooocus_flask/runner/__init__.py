"""The seam to whatever draws: the engine process, its supervision, and downloads for it."""
