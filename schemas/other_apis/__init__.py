"""Shapes of the APIs of other programs, which blueprints of their names translate."""
