"""The queue and its record: a task's states, history, estimates, and idempotency."""
