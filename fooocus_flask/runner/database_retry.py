"""Work that needs the database, done again until the database can take it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from flask import Flask
from sqlalchemy.exc import OperationalError

from fooocus_flask.database import db

log = logging.getLogger(__name__)

DATABASE_DELAY = 1.0
"""Seconds before the database is asked again that was locked, or whose disk was full."""

Result = TypeVar("Result")


def until_stored(app: Flask, work: Callable[..., Result], *args: Any) -> Result:
    """Call `work` in the application's context, again and again while the database cannot take it; its result."""
    while True:
        with app.app_context():
            try:
                return work(*args)
            except OperationalError as error:
                db.session.rollback()
                log.error("The database is asked again in %.1f s: %s", DATABASE_DELAY, error.orig)
        gevent.sleep(DATABASE_DELAY)
