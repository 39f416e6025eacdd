"""The pages that explain the service: the way in, the OpenAPI document, and a page of it that needs no script."""

from __future__ import annotations

import flask
from flask import Response, current_app, jsonify, redirect, render_template, request

from fooocus_flask.server import openapi
from fooocus_flask.submission.parsing import Blueprint

blueprint = Blueprint("docs", __name__, description="Documentation of this service.")


@blueprint.get("/")
@blueprint.doc(responses={307: {"description": "To the interactive documentation."}})
def root() -> Response:
    """Lead to the interactive documentation."""
    return redirect(request.script_root + openapi.DOCS, 307)  # type: ignore[return-value]


def openapi_json() -> Response:
    """The OpenAPI document."""
    return jsonify(openapi.document(current_app))


def redoc() -> str:
    """The same document as one page to read and print.

    ReDoc itself is a script that no Python package ships, and this server sends its readers to no other host.
    """
    return render_template("reference.html", spec=openapi.document(current_app))


# Flask's own rule, not flask-smorest's: a document does not describe itself.
flask.Blueprint.add_url_rule(blueprint, openapi.DOCUMENT, view_func=openapi_json)
flask.Blueprint.add_url_rule(blueprint, "/redoc", view_func=redoc)
