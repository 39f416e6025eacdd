"""Whose key was sent, and what it may do."""

from fooocus_flask.access import keys


def test_where_no_key_is_needed_anyone_may_do_everything(client):
    assert client.get("/whoami").json == {"name": None, "scopes": ["admin"], "per_minute": 0, "queued": 0}


def test_a_key_is_told_its_name_its_scopes_and_its_limits(app, client):
    with app.app_context():
        key = keys.add("studio", ["draw"], per_minute=30, queued=2)
    told = client.get("/whoami", headers={"X-API-KEY": key}).json
    assert told == {"name": "studio", "scopes": ["draw"], "per_minute": 30, "queued": 2}
    assert client.get("/whoami").status_code == 403
