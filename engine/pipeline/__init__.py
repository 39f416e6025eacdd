"""The pipeline of a request: read its pictures, load its models, draw, enhance and save its images."""
