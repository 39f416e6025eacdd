"""How often a task is tried whose engine or server dies each time, and what its failure says then."""

MOST_ATTEMPTS = 3


def too_often(reason: str) -> str:
    """The error of a task that no engine survived."""
    return f"The engine process was lost {MOST_ATTEMPTS} times while it drew this task, the last time: {reason}"
