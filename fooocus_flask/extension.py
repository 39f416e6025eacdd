"""What each application has one of: a runner, a table of followers, a secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from flask import Flask, current_app

T = TypeVar("T")


def application() -> Flask:
    """The current application itself: its proxy means another one in other greenlets."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app


class Extension(Generic[T]):
    """One `T` for each application, made by `init_app`, or when it is first asked for."""

    def __init__(self, name: str, make: Callable[[Flask], T]) -> None:
        self.name, self._make = name, make

    def init_app(self, app: Flask) -> None:
        """Make the application's own."""
        app.extensions[self.name] = self._make(app)

    def of(self, app: Flask) -> T:
        """The application's own."""
        if self.name not in app.extensions:
            self.init_app(app)
        found: T = app.extensions[self.name]
        return found

    def current(self) -> T:
        """The current application's own."""
        return self.of(application())
