"""The group of AUTOMATIC1111's routes, and what it answers where there is none, or no key."""

from __future__ import annotations

from flask import Response, current_app, request
from werkzeug.exceptions import NotFound as WrongPath

from fooocus_flask import errors
from fooocus_flask.access import callers
from fooocus_flask.errors import Forbidden, NotFound
from fooocus_flask.submission.parsing import Blueprint

PREFIX = "/sdapi"
METHODS = {"GET", "POST"}
CHALLENGE = {"WWW-Authenticate": 'Basic realm="fooocus-flask"'}

blueprint = Blueprint(
    "sdapi",
    __name__,
    url_prefix=f"{PREFIX}/v1",
    description="AUTOMATIC1111's API: each request becomes a task like any other.",
)


@blueprint.errorhandler(Forbidden)
def challenge(error: Forbidden) -> Response:
    """Ask a caller without a key for one, in the way that these clients know."""
    if callers.current() is not None:
        return errors.send_error(error)
    text = "These routes need a key: send it as the password of HTTP Basic, with any user name"
    return errors.reply(401, text, CHALLENGE)


@blueprint.before_app_request
def refuse_others() -> None:
    """Refuse a route of AUTOMATIC1111's that is not served here.

    Raises:
        NotFound: naming those that are.
    """
    below = request.path == PREFIX or request.path.startswith(f"{PREFIX}/")
    wrong = below and isinstance(request.routing_exception, WrongPath)
    if wrong and not errors.other_slash_form_allows():
        listed = ", ".join(f"{method} {path}" for path, methods in routes().items() for method in methods)
        raise NotFound(f"This route of AUTOMATIC1111's is not served here. Served are: {listed}")


def routes() -> dict[str, list[str]]:
    """The routes that are served, with their methods."""
    rules = (rule for rule in current_app.url_map.iter_rules() if rule.endpoint.startswith(f"{blueprint.name}."))
    own = [(rule.rule, method) for rule in rules for method in sorted((rule.methods or set()) & METHODS)]
    found: dict[str, list[str]] = {}
    for path, method in sorted(own):
        found.setdefault(path, []).append(method)
    return found
