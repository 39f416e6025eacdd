"""File descriptors: as many as the system lets a server have, and a word before they run out."""

import resource

from fooocus_flask.server import descriptors


def test_a_server_raises_its_limit_and_tells_it(make_server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        server = make_server()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    told = dict(
        line.rsplit(" ", 1) for line in server.get("/metrics").body.decode().splitlines() if "descriptors{" in line
    )
    assert float(told['fooocus_file_descriptors{of="limit"}']) == min(hard, descriptors.MOST)
    assert 5 < float(told['fooocus_file_descriptors{of="used"}']) < 200


def test_their_nearness_is_told_once_until_there_are_more(app, caplog):
    watch = descriptors.watch.of(app)
    for used in (10, 79, 81, 99, 70, 81, 59, 81):
        watch.look(used, 100)
    assert [record.getMessage()[:9] for record in caplog.records] == ["81 of 100", "81 of 100"]
    assert "LimitNOFILE" in caplog.text
