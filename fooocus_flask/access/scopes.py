"""What a caller may do: endpoints need a scope, and tasks of others are left to those who may do everything.

Looking needs `read`; drawing, tools and control of one's own tasks need `draw`; the names of what can be drawn with,
either; all else needs `admin`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, request

from fooocus_flask.access import callers, foreign_pages, limits
from fooocus_flask.access.callers import Caller
from fooocus_flask.access.keys import ADMIN, DRAW, READ
from fooocus_flask.errors import Forbidden
from fooocus_flask.tables import Task

View = TypeVar("View", bound=Callable[..., Any])
MARK = "needed_scopes"
LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})


def init_app(app: Flask) -> None:
    """Refuse those who may not, before anything of a request's body is read; those refused are counted as well."""
    app.before_request(callers.identify)
    limits.init_app(app)
    app.before_request(refuse)


def needs(*scopes: str) -> Callable[[View], View]:
    """Mark a view as one that needs one of these scopes; without, looking needs `read` and the rest `admin`."""

    def mark(view: View) -> View:
        setattr(view, MARK, scopes)
        return view

    return mark


def scopes_of(view: Callable[..., Any], method: str) -> tuple[str, ...]:
    """The scopes of which a caller of this view needs one."""
    return getattr(view, MARK, (READ,) if method in LOOKING else (ADMIN,))


def refuse() -> None:
    """Raise `Forbidden` unless the request at hand may go on; a page of another site may look, if anything."""
    if callers.needs_key():
        view = current_app.view_functions[request.endpoint or ""]
        require(*scopes_of(view, request.method))
        if request.method not in LOOKING:
            foreign_pages.require_allowed()


def require(*scopes: str) -> None:
    """Go on only for a caller with one of these scopes.

    Raises:
        Forbidden: the caller has no key, or one without any of them.
    """
    caller = callers.current()
    if caller is None:
        raise Forbidden
    if not any(caller.may(scope) for scope in scopes):
        raise Forbidden(f"The key {caller.name} lacks the scope {' or '.join(scopes)}")


def require_own(task: Task, scope: str = ADMIN) -> None:
    """Go on only for whoever submitted the task, or has this scope.

    Raises:
        Forbidden: it was submitted under another key.
    """
    caller = callers.current()
    if caller is None:
        raise Forbidden
    if not is_open_to(caller, task.key_name, scope):
        raise Forbidden(f"The task was not submitted with the key {caller.name}, which lacks the scope {scope}")


def may_control(task: Task) -> bool:
    """Whether the caller of the request at hand submitted the task, or may do everything."""
    caller = callers.current()
    return caller is not None and is_open_to(caller, task.key_name, ADMIN)


def is_open_to(caller: Caller, key_name: str | None, scope: str) -> bool:
    """Whether a task that was submitted with this key is the caller's own, or the caller has this scope."""
    return (key_name == caller.name and caller.may(DRAW)) or caller.may(scope)
