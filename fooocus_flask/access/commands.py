"""`flask --app wsgi keys …`: the operator's commands for keys. They reach a running server at once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext

from fooocus_flask import database
from fooocus_flask.access import callers, keys
from fooocus_flask.errors import StartError
from fooocus_flask.tables import Key

HEADINGS = ("NAME", "SCOPES", "PER MINUTE", "QUEUED", "MADE", "LAST USED", "STATE")
LIMIT = click.IntRange(min=0)


@click.group("keys", cls=AppGroup)
@with_appcontext
def group() -> None:
    """Manage the keys that clients may use."""
    try:
        database.upgrade(current_app)  # Flask's command line leaves the tables as they are
    except StartError as error:
        raise click.ClickException(str(error)) from error


def init_app(app: Flask) -> None:
    """Add the commands."""
    app.cli.add_command(group)


def reports_faults(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose faults end it with a sentence."""

    @wraps(command)
    def run(**arguments: Any) -> None:
        try:
            command(**arguments)
        except keys.KeyFault as fault:
            raise click.ClickException(str(fault)) from fault

    return run


@group.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(keys.SCOPES),
    default=(keys.READ, keys.DRAW),
    show_default=True,
    help="What it may do; several times for several.",
)
@click.option("--per-minute", type=LIMIT, default=0, show_default=True, help="Requests a minute; 0: no limit.")
@click.option("--queued", type=LIMIT, default=0, show_default=True, help="Tasks that may wait; 0: no limit.")
@reports_faults
def add(name: str, scopes: Sequence[str], per_minute: int, queued: int) -> None:
    """Make a key and show it, this once."""
    was_open = not callers.keys_on()
    show(name, keys.add(name, scopes, per_minute, queued))
    if was_open:
        click.echo("This is the first key: from now on every request needs one.", err=True)


@group.command("list")
def listing() -> None:
    """List the keys: what they may do, and when they were used."""
    for line in table([HEADINGS, *map(row, keys.all_keys())]):
        click.echo(line)


@group.command("revoke")
@click.argument("name")
@reports_faults
def revoke(name: str) -> None:
    """Take a key back; it opens nothing any more."""
    keys.revoke(name)
    click.echo(f"The key {name} is revoked.", err=True)


@group.command("rotate")
@click.argument("name")
@reports_faults
def rotate(name: str) -> None:
    """Give a key another secret and show it, this once; the one it had opens nothing any more."""
    show(name, keys.rotate(name))


@group.command("remove")
@click.argument("name")
@reports_faults
def remove(name: str) -> None:
    """Forget a revoked key, so that its name is free again."""
    keys.remove(name)
    click.echo(f"The key {name} is removed.", err=True)
    if not callers.keys_on():
        click.echo("It was the last one: from now on no request needs a key.", err=True)


def show(name: str, secret: str) -> None:
    """Put the key where a script can take it up, and the words beside it."""
    click.echo(f"The key {name}, which is not shown again:", err=True)
    click.echo(secret)


def row(key: Key) -> tuple[str, ...]:
    """The columns of a key's line."""
    limits = [str(limit or "-") for limit in (key.per_minute, key.queued)]
    state = f"revoked {moment(key.revoked_mills)}" if key.revoked_mills else "in force"
    return (key.name, ",".join(key.scopes), *limits, moment(key.made_mills), moment(key.used_mills), state)


def moment(mills: int | None) -> str:
    """A moment in UTC, to the minute."""
    return "-" if mills is None else f"{dt.datetime.fromtimestamp(mills / 1000, dt.UTC):%Y-%m-%dT%H:%MZ}"


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows as lines, their columns below one another."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in rows]
