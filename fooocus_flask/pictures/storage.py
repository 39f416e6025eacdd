"""Where pictures are kept: in the folders of this machine, or in a bucket, of which the folders then hold copies."""

from __future__ import annotations

from flask import Flask

from fooocus_flask.errors import StartError
from fooocus_flask.extension import Extension
from fooocus_flask.pictures.folder_storage import Storage

NO_LIBRARY = "STORAGE_URL needs boto3: install fooocus-flask with its extra s3, or leave STORAGE_URL empty"


def configured(app: Flask) -> Storage:
    """The application's, as STORAGE_URL says."""
    if not app.config["STORAGE_URL"]:
        return Storage()
    try:
        from fooocus_flask.pictures.bucket_storage import BucketStorage  # nobody else needs its library
    except ModuleNotFoundError as error:
        raise StartError(NO_LIBRARY) from error
    return BucketStorage(app)


storage = Extension("fooocus-storage", configured)
