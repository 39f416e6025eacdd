"""Asks for what fails as it is drawn, with the retries that the `openai` package makes by itself; prints the errors."""

import json
import os
import sys

import openai

client = openai.OpenAI(base_url=os.environ["BASE_URL"] + "/v1", api_key=os.environ["KEY"])
assert client.max_retries == 2


def failed(prompt, **members):
    """The error of a request."""
    try:
        answer = client.images.generate(model="hollow", prompt=prompt, size="64x64", **members)
        list(answer)
    except openai.APIError as error:
        return type(error).__name__, error.code, error.message
    return None


found = {"answer": failed("fails at once"), "stream": failed("fails in a stream", stream=True)}
json.dump(found, sys.stdout)
