"""The environment of the real clients: what is installed is what is pinned, and nothing is asked of other hosts."""

from pathlib import Path

PINNED = dict(
    line.split("==")
    for line in (Path(__file__).parent / "requirements.txt").read_text().splitlines()
    if not line.startswith("#")
)


def test_programs_have_the_pinned_clients_and_reach_the_server_only(server, run_client):
    found = run_client("installed", server, NAMES=" ".join(PINNED))
    assert found["versions"] == PINNED
    assert found["server"] == 200
    assert "refused" in found["elsewhere"]
