"""`flask --app wsgi storage …`: the operator's commands for pictures in a bucket."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import AppGroup

from fooocus_flask.errors import StartError
from fooocus_flask.pictures.folder_storage import Storage, StorageFault
from fooocus_flask.pictures.storage import storage

group = AppGroup("storage", help="Manage the bucket in which pictures are kept.")


def init_app(app: Flask) -> None:
    """Add the commands."""
    app.cli.add_command(group)


@group.command("sync")
@click.option("--back", is_flag=True, help="From the bucket into the folders, in place of into the bucket.")
def sync(back: bool) -> None:
    """Copy the pictures that are missing from the folders into the bucket; nothing is deleted or written over."""
    try:
        kept = storage.current()
        if not kept.remote:
            raise click.ClickException("STORAGE_URL is empty: give s3://BUCKET/PREFIX, in the environment or config.py")
        kept.start()
        copied, there = copy(kept, back)
    except (StartError, StorageFault) as error:
        raise click.ClickException(getattr(error, "reason", str(error))) from error
    click.echo(f"{copied} copied, {there} were there")


def copy(kept: Storage, back: bool) -> tuple[int, int]:
    """How many pictures were copied and how many were there already.

    Raises:
        StorageFault: the bucket does not do it; what was copied stays.
    """
    copied = total = 0
    for path in kept.stored() if back else kept.here():
        copied += kept.fetch(path) if back else kept.ensure(path)
        total += 1
    return copied, total - copied
