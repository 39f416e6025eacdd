"""Backdrops: pictures of places and surfaces, drawn on a processor, that things are put in front of."""
