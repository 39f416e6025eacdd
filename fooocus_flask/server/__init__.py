"""The server around the application: the launcher, the OpenAPI document, metrics."""
