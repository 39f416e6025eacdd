"""Upgrades of the database: every row is kept, and one that was cut off leaves nothing that does not start."""

import pytest
from flask import Flask

from fooocus_flask import configure, database, server_lock, upgrades
from fooocus_flask.tables import Delivery, receiver_host
from tests import past_databases, postgresql
from tests.past_databases import OF_0_1_0, REVISIONS

pytestmark = pytest.mark.sql("upgrades")


@pytest.fixture
def address(tmp_path, database):
    """The database of the application that `make_app` makes."""
    (tmp_path / "instance").mkdir()
    postgresql.address(tmp_path / "instance", "TEMPLATE template0")  # without tables, unlike other tests'
    settings = postgresql.settings(tmp_path / "instance")
    return settings.get("SQLALCHEMY_DATABASE_URI") or f"sqlite:///{tmp_path / 'instance' / 'db.sqlite3'}"


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_upgrade_keeps_every_row(address, make_app, revision):
    past_databases.upgrade(address, revision)
    past_databases.fill(address)
    before = past_databases.contents(address)
    make_app()
    after = past_databases.contents(address)
    assert before.keys() <= after.keys() and {len(rows) for rows in before.values()} == {past_databases.ROWS}
    for name, rows in before.items():
        assert [{column: row[column] for column in rows[0]} for row in after[name]] == rows
    assert next(row["prompt"] for row in after["task_prompt"]).lower() in ("a cat", "prompt 1")


@pytest.mark.sqlite("a call of its driver lets nothing else run")
def test_an_upgrade_gives_signs_of_life(address, make_app, monkeypatch):
    past_databases.upgrade(address, "0001")
    past_databases.fill(address)
    monkeypatch.setattr(upgrades, "TELL_EVERY", 1)
    senders = []
    with server_lock.standing_by.connected_to(senders.append):
        app = make_app()
    assert len(senders) > past_databases.ROWS and set(senders) == {app}


def test_webhooks_owed_since_the_first_revision_keep_their_message(address, make_app):
    """They were sent under a name made of their task's."""
    past_databases.upgrade(address, "0001")
    past_databases.fill(address)
    app = make_app()
    with app.app_context():
        assert [delivery.message_id for delivery in Delivery.query.order_by(Delivery.id)] == [
            f"msg_task_id {number}" for number in range(1, past_databases.ROWS + 1)
        ]


def test_webhooks_owed_since_earlier_revisions_take_turns_by_their_receivers(address, make_app):
    past_databases.upgrade(address, "0007")
    past_databases.fill(address)
    with make_app().app_context():
        hosts = {(delivery.host, receiver_host(delivery.url)) for delivery in Delivery.query}
    assert hosts == {("receiver.example:443",) * 2}


@pytest.mark.sqlite("its schema is compared; PostgreSQL's upgrades were always whole")
@pytest.mark.parametrize("revision", [None, *OF_0_1_0[:-1]])
def test_an_upgrade_that_0_1_0_left_half_done_is_finished(tmp_path, address, make_app, revision):
    """At each of its statements."""
    whole = tmp_path / "instance" / "db.sqlite3"
    target = OF_0_1_0[0 if revision is None else OF_0_1_0.index(revision) + 1]
    if revision:
        past_databases.upgrade(address, revision)
        past_databases.fill(address)
    folders = past_databases.killed(whole, target, tmp_path)
    make_app()
    wanted, rows = past_databases.schema(address), past_databases.contents(address)
    for instance in folders:
        upgraded(instance)
        killed = f"sqlite:///{instance / whole.name}"
        assert past_databases.schema(killed) == wanted
        if target != "0002":  # whose whole upgrade, in 0.1.0, lost the webhooks
            assert past_databases.contents(killed) == rows


def upgraded(instance):
    """Do with this instance folder's database what a start does with it."""
    app = Flask("fooocus_flask", instance_path=str(instance))
    configure(app, {})
    database.init_app(app)
    database.close(app)


@pytest.mark.sqlite("looks for its statements")
def test_a_table_with_rows_that_no_upgrade_made_is_not_dropped(tmp_path, make_app):
    """FooocusAPI keeps its tasks under the same name, and an operator may have pointed at its file."""
    path = tmp_path / "instance" / "db.sqlite3"
    path.parent.mkdir()
    address = f"sqlite:///{path}"
    with past_databases.opened(address) as engine, engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE generate_record (id INTEGER PRIMARY KEY, task_id TEXT)")
        connection.exec_driver_sql("INSERT INTO generate_record (task_id) VALUES ('kept')")
    with pytest.raises(upgrades.UpgradeError, match="generate_record"):
        make_app()
    assert past_databases.contents(address)["generate_record"] == [{"id": 1, "task_id": "kept"}]


@pytest.mark.sqlite("PostgreSQL's sequences give no number again")
def test_the_number_of_a_deleted_row_is_not_given_again(app, add):
    first = add()
    client = app.test_client()
    number = client.get(f"/tasks/{first}").json["id"]
    assert client.delete(f"/tasks/{first}").status_code < 300
    second = add()
    assert client.get(f"/tasks/{second}").json["id"] == number + 1
