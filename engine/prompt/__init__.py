"""From a request's prompt to the texts and tokens the text encoders read."""
