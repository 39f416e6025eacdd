"""Pictures in and out: where they come from, where they lie, and the URLs they have."""
