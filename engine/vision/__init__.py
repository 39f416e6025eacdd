"""Masks and descriptions of pictures, beside the tasks."""
