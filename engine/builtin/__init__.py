"""The miniature model shipped with the project: weights and their manifest."""
