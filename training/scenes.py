"""The kinds of background: plain ones, drawn where they are composed, and places, drawn before as backdrops."""

FLAT, GRADIENT, STUDIO, PLACE, BOKEH = range(5)
