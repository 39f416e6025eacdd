"""The queue and its record: a task's life, history, estimates, and idempotency."""
