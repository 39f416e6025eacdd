"""Memory that is freed stays with a server, so that the next request need not wait for it."""

import subprocess
import sys

PROGRAM = """
import resource
from fooocus_flask.server import heap

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def in_turn():
    before = faults()
    for _ in range(20):
        body = b"x" * 3_000_000
        text = body.decode()
        del body, text
    return faults() - before

in_turn()
heap.keep_freed()
in_turn()
print(in_turn())
"""
PAGES = 3_000_000 // 4096


def test_the_pages_of_a_large_text_are_had_once():
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(told.stdout) < PAGES, told.stderr
