"""The web page: files that a browser runs, which speak only the public API and so need no key to be read."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, render_template, request
from werkzeug.datastructures import ContentSecurityPolicy

from blueprints.webui.assets import Asset, Assets
from fooocus_flask.errors import NotFound

PATH = "/ui"
AT_ROOT = "fooocus_flask.webui"
"""What the launcher puts into the environment of a request that came for `/` on the page's own port."""
FOREVER = 365 * 24 * 3600
"""Seconds for which a browser keeps a file whose address names what it holds."""
POLICY = ContentSecurityPolicy(
    {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self' data:",
        "manifest-src": "'self'",
        "base-uri": "'self'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
)
"""No other host, no frame, no script but the page's own files; pictures that a person chose are data: and blob:."""

assets = Assets.read()
blueprint = Blueprint("webui", __name__, url_prefix=PATH, template_folder="templates")


@blueprint.before_request
def refuse() -> None:
    """Raise `NotFound` where the server was started without the page."""
    if current_app.config["NOWEBUI"]:
        raise NotFound("This server was started without the web page (--nowebui); the API is described at /docs")


@blueprint.get("/")
def page() -> Response:
    """The page; every address in it is relative to its own place, so that it works below any prefix of a proxy."""
    elsewhere = request.environ.get(AT_ROOT) or not request.path.endswith("/")
    html = render_template("page.html", assets=assets, base=f"{PATH[1:]}/" if elsewhere else None)
    response = Response(html, mimetype="text/html")
    response.add_etag()
    response.cache_control.no_cache = True
    return response.make_conditional(request)  # type: ignore[return-value]


@blueprint.get("/static/<digest>/<path:name>")
def static_file(digest: str, name: str) -> Response:
    """A file of the page, kept for ever by whoever asked for the files as they are."""
    asset = assets.files.get(name)
    if asset is None:
        raise NotFound("The page has no such file")
    response = answer(asset)
    if digest == assets.digest:
        response.cache_control.public, response.cache_control.max_age = True, FOREVER
        response.cache_control.immutable = True
    else:
        response.cache_control.no_cache = True
    return response.make_conditional(request)  # type: ignore[return-value]


@blueprint.after_request
def guard(response: Response) -> Response:
    """Put the headers that keep other sites out on everything the page is made of."""
    response.content_security_policy = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def answer(asset: Asset) -> Response:
    """The file's bytes, packed for whoever takes them so."""
    packed = request.accept_encodings.quality("gzip") > 0 and asset.packed is not None
    response = Response(asset.packed if packed else asset.data, mimetype=asset.media_type)
    response.set_etag(f"{asset.digest}-gzip" if packed else asset.digest)
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    return response
