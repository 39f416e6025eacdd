"""The running server against its own OpenAPI document: thousands of requests made up by schemathesis."""
