"""An endpoint of somebody else's."""

from flask import Blueprint, jsonify

blueprint = Blueprint("hello", __name__)


@blueprint.get("/hello")
def hello():
    """Greet."""
    return jsonify(hello="world")
