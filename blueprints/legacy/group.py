"""The group of these routes: how their bodies are read, and how their faults are told."""

from __future__ import annotations

from typing import Any

from flask import Request, Response, g, jsonify, request
from marshmallow import Schema
from webargs.flaskparser import FlaskParser

from blueprints.legacy import forms
from fooocus_flask import errors
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.submission import parsing, unknown_names
from schemas.faults import LONGEST_ECHO, echo


class LegacyParser(parsing.ArgumentsParser):
    """Reads a body as a form or as JSON, whatever the route, and keeps it for the answer to one that does not fit."""

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The body's members, as JSON would have them."""
        g.legacy_body = forms.body(req, schema) if forms.is_form(req) else parsing.json_body(req, schema)
        unknown_names.remark(unknown_names.unknown_in(schema, g.legacy_body))
        return g.legacy_body

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        """The query's parameters; clients send others, which mean nothing."""
        return FlaskParser.load_querystring(self, req, schema)


class LegacyBlueprint(parsing.Blueprint):
    """A group of endpoints whose bodies are read by `LegacyParser`."""

    ARGUMENTS_PARSER = LegacyParser()


blueprint = LegacyBlueprint("legacy", __name__, description="The routes of Fooocus-API, the predecessor.")


@blueprint.errorhandler(InvalidRequest)
def send_faults(error: InvalidRequest) -> Response:
    """The faults, and beside them the body as it came, shortened where it is long."""
    response = errors.send_error(error)
    response.set_data(jsonify(detail=error.detail, body=received()).get_data())
    return response


def received() -> Any:
    """The body of the request at hand, as far as it can be told back; null without one."""
    if "legacy_body" in g:
        return echo(g.legacy_body)
    start = request.get_data(cache=True)[: LONGEST_ECHO + 1]
    return echo(start.decode("utf-8", "replace")) if start else None
