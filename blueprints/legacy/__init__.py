"""The routes of Fooocus-API 0.5, the predecessor: its requests become ours, and our records become its jobs."""

from blueprints.legacy import engines, generation, jobs
from blueprints.legacy.group import blueprint

__all__ = ["blueprint", "engines", "generation", "jobs"]
