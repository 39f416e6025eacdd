"""A prompt's lines: the first is the prompt proper, the others are texts beside it."""

from __future__ import annotations

EDGES = ",. \r\n"


def cleaned(line: str) -> str:
    """The line without runs of spaces and without commas, dots and white space at its ends."""
    for _ in range(16):
        line = line.replace("  ", " ")
    return line.strip(EDGES)


def prompt_lines(prompt: str) -> list[str]:
    """The cleaned lines that hold something; one empty line if none does."""
    return [line for line in map(cleaned, prompt.splitlines()) if line] or [""]


def with_additional(prompt: str, additional: str) -> str:
    """The prompt led by an inpainting run's additional prompt, which thereby becomes the first line."""
    if not additional:
        return prompt
    return f"{additional}\n{prompt}" if prompt else additional
