"""Looking at pictures that are no task: masks and descriptions."""
