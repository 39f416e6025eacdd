"""Addresses are built as Flask builds them, though what builds them is compiled late."""

from flask import url_for

from fooocus_flask.server.url_rules import LazyRule


def test_an_address_is_built_again_and_again(app):
    with app.test_request_context():
        for name in ("a", "b"):
            assert url_for("tasks.one_task", task_id=name, brief="yes") == f"/tasks/{name}?brief=yes"


def test_every_route_is_compiled_late(app):
    assert {type(rule) for rule in app.url_map.iter_rules()} == {LazyRule}
