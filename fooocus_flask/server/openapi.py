"""The OpenAPI document, its pages, and the rules for JSON that leaves: made from the blueprints' schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import flask_smorest
from flask import Flask, render_template, request
from flask.json.provider import DefaultJSONProvider
from flask_swagger_ui import get_swaggerui_blueprint
from gevent.lock import BoundedSemaphore
from jinja2.utils import htmlsafe_json_dumps
from marshmallow import Schema, fields
from werkzeug.routing import IntegerConverter

from fooocus_flask.access.callers import BASIC_BLUEPRINTS, HEADER, OPEN_BLUEPRINTS
from fooocus_flask.access.scopes import scopes_of
from fooocus_flask.pictures.blocking import in_thread
from fooocus_flask.submission import json_text
from fooocus_flask.version import VERSION
from schemas.fields import FLAG, FLAG_NAME, Described
from schemas.form_layout import GROUPS, form_place

DOCS = "/docs"
DOCUMENT = "/openapi.json"
ABOUT = (
    'Begin with `POST /v1/engine/generate/`: `{"prompt": "a cat"}` draws, and answers with the pictures\' addresses. '
    "With `async_process` it answers at once; `GET /tasks/{task_id}` and `GET /tasks/events` then tell how far it is, "
    "and `POST /tasks/{task_id}/cancel` stops it. `GET /v1/engines/…` lists models, styles and presets. Where keys are "
    "needed, Authorize takes one. All of it can be done on [the web page](../ui/), too.\n\n"
    "Members that a request leaves out have their defaults. Unknown ones are left out, and named in the task's notes "
    "and in the header X-Notes; a body of nothing else is refused. A number may also come as a text of it, within the "
    f"same bounds. JSON may have {json_text.MOST_NODES:,} values, and {json_text.DEEPEST} lists and objects in one "
    "another. What does not fit is answered with 422 and its faults, each with its place."
)
"""How to begin, and what holds for every request."""
IN_USE = ("generate", "tasks", "control", "tools", "listings", "files", "whoami")
"""Groups of operations in the order in which they are needed; others follow."""
PARAMETER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
"""A part of a rule that is a parameter, and its name."""


class ErrorSchema(Schema):
    """Every failure."""

    detail = fields.Raw(
        required=True,
        metadata={
            "description": "What went wrong: a text, or for 422 a list of faults (type, loc, msg, input, ctx).",
            "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}],
        },
    )


FAILURES = {
    "401": ("Unauthorized", "The key is missing or wrong: send it as the password of HTTP Basic."),
    "403": ("Forbidden", "The key is missing or wrong."),
    "404": ("NotFound", "There is nothing under this address."),
    "413": ("TooLarge", "The body is larger than this server takes."),
    "415": ("UnsupportedCoding", "The body's Content-Encoding is neither gzip nor deflate."),
    "422": ("Invalid", "Something in the request does not fit; `detail` lists the faults, each with its place."),
}
"""Statuses that many operations give, with the name of each answer in the document."""


class RowNumber(IntegerConverter):
    """A row's number in a path; more digits than a row has lead nowhere."""

    regex = r"\d{1,9}"


class Api(flask_smorest.Api):
    """flask-smorest's, with our error shape, and a document that is made when somebody wants it."""

    ERROR_SCHEMA = ErrorSchema

    def __init__(self, app: Flask) -> None:
        self._undescribed: list[flask_smorest.Blueprint] = []
        self._describing = BoundedSemaphore(1)
        super().__init__(app)

    def register_blueprint(self, blueprint: flask_smorest.Blueprint) -> None:
        """Register a blueprint; its operations are described later, which takes as long as making all else."""
        assert self._app is not None
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blueprint.name] = self
        self._app.register_blueprint(blueprint)
        self._undescribed.append(blueprint)

    def described(self) -> dict[str, Any]:
        """The document of all blueprints, made in a thread, for it takes a quarter of a second the first time.

        Whoever has it adds to its parts, so no thread reads them once it is made.
        """
        with self._describing:
            if self._undescribed:
                in_thread(self._describe)
        return dict(self.spec.to_dict())

    def _describe(self) -> None:
        while self._undescribed:
            blueprint = self._undescribed[0]
            blueprint.register_views_in_doc(self, self._app, self.spec, name=blueprint.name, parameters=None)
            self.spec.tag({"name": blueprint.name, "description": blueprint.description})
            del self._undescribed[0]

    def _register_error_handlers(self) -> None:
        """None: `fooocus_flask.errors` answers for every failure."""


class WireJson(DefaultJSONProvider):
    """JSON as it leaves: UTF-8, compact, members in the order they were made."""

    ensure_ascii = False
    sort_keys = False
    compact = True


def init_app(app: Flask) -> Api:
    """The extension that blueprints are registered with; call it before any route exists."""
    app.json = WireJson(app)
    app.url_map.converters["row"] = RowNumber
    app.url_map.strict_slashes = False  # a path answers with and without its last slash, and redirects nowhere
    app.config.update(
        API_TITLE="fooocus-flask",
        API_VERSION=VERSION,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX=None,
        API_SPEC_OPTIONS={"info": {"description": ABOUT}, "x-groups": list(GROUPS)},
    )
    api = Api(app)
    api.ma_plugin.converter.add_attribute_function(as_taken)
    api.ma_plugin.converter.add_attribute_function(as_shown)
    api.ma_plugin.converter.add_parameter_attribute_function(as_sent)
    api.spec.components.schema(FLAG_NAME, FLAG)
    for name, description in FAILURES.values():
        content = {"application/json": {"schema": ErrorSchema}}
        api.spec.components.response(name, {"description": description, "content": content})
    api.spec.components.security_scheme("apiKey", {"type": "apiKey", "in": "header", "name": HEADER})
    api.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    api.spec.components.security_scheme("basic", {"type": "http", "scheme": "basic"})
    app.register_blueprint(get_swaggerui_blueprint(DOCS, DOCUMENT))
    files = app.view_functions["swagger_ui.show"]

    def show(path: str | None = None) -> Any:
        return interactive_page() if path in (None, "index.html") else files(path)

    app.view_functions["swagger_ui.show"] = show
    return api


def interactive_page() -> str:
    """Swagger UI below the prefix that a proxy puts before the path; the package's own page has fixed paths."""
    root = request.script_root
    config = {
        "url": root + DOCUMENT,
        "dom_id": "#swagger-ui",
        "layout": "StandaloneLayout",
        "deepLinking": True,
        "tryItOutEnabled": True,
        "validatorUrl": None,  # the page would ask a host outside
    }
    return render_template(
        "index.template.html", base_url=root + DOCS, app_name="fooocus-flask", config_json=htmlsafe_json_dumps(config)
    )


def as_taken(_converter: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """What our own fields say of themselves, in place of what follows from their classes (apispec's interface)."""
    shape = field.shape() if isinstance(field, Described) else {}
    if not shape:
        return {}
    rest = {word: value for word, value in ret.items() if word not in ("type", "format")}
    ret.clear()
    return shape | rest


def as_shown(_converter: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Where a form shows the member, beside all else (apispec's interface)."""
    return form_place(field)


def as_sent(_converter: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """That a parameter may come without a value, where it may (apispec's interface)."""
    return {"allowEmptyValue": True} if isinstance(field, Described) and field.in_query else {}


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI 3.1 document for the request at hand, below the prefix that a proxy has put before its path.

    Every operation that needs a key says with which scopes, and how it may be refused.
    """
    api: Api = app.extensions["flask-smorest"]["apis"][""]["ext_obj"]
    spec = api.described() | {"servers": [{"url": request.script_root or "/"}]}
    for rule in app.url_map.iter_rules():
        operations = spec["paths"].get(PARAMETER.sub(r"{\1}", rule.rule), {})
        group = rule.endpoint.partition(".")[0]
        schemes = ("apiKey", "bearer", *(["basic"] if group in BASIC_BLUEPRINTS else []))
        for method in (rule.methods or set()) if group not in OPEN_BLUEPRINTS else ():
            if method.lower() in operations:
                scopes = scopes_of(app.view_functions[rule.endpoint], method)
                ways = [{scheme: [scope]} for scope in scopes for scheme in schemes]
                operations[method.lower()]["security"] = ways
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            for status in refusals(path, operation) if isinstance(operation, dict) else ():
                name, _ = FAILURES[status]
                operation["responses"].setdefault(status, {"$ref": f"#/components/responses/{name}"})
    spec["tags"].sort(key=lambda tag: place_in_use(tag["name"]))
    spec["paths"] = dict(sorted(spec["paths"].items(), key=lambda item: place_in_use(group_of(item[1]))))
    return spec


def place_in_use(group: str) -> int:
    """Where pages show a group of operations."""
    return IN_USE.index(group) if group in IN_USE else len(IN_USE)


def group_of(operations: dict[str, Any]) -> str:
    """The group of a path's operations."""
    return next(str(one["tags"][0]) for one in operations.values() if isinstance(one, dict))


def refusals(path: str, operation: dict[str, Any]) -> Iterator[str]:
    """The statuses with which any operation of this kind may be refused."""
    if "security" in operation or "files" in operation["tags"]:
        yield "403"
    if any("basic" in way for way in operation.get("security", ())):
        yield "401"
    if "{" in path:
        yield "404"
    if "requestBody" in operation:
        yield from ("413", "415")
        if "400" not in operation["responses"]:  # which other APIs have for the same
            yield "422"
