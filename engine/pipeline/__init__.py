"""The story of a request: its pictures read, its models made ready, its images drawn, enhanced and saved."""
