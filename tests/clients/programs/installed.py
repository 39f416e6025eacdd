"""Prints the versions of the clients that NAMES names, and what comes of asking the server and of asking elsewhere."""

import json
import os
import sys
import urllib.request
from importlib.metadata import version

ELSEWHERE = "http://192.0.2.1/"  # an address that is given to nobody


def ask(url):
    """The answer's status, or the error's words."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except OSError as error:
        return str(error)


found = {"server": ask(os.environ["BASE_URL"] + "/ping"), "elsewhere": ask(ELSEWHERE)}
json.dump(found | {"versions": {name: version(name) for name in os.environ["NAMES"].split()}}, sys.stdout)
