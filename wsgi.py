"""Serves the application: `wsgi:app` under gunicorn or uWSGI, `python wsgi.py …` by itself.

Importing this module starts the engine process, but for commands: `flask --app wsgi …`.
"""

import faulthandler
import os

CANNOT_BOOT = 3  # by which gunicorn knows that starting another worker would not help
COMMAND = os.environ.get("FLASK_RUN_FROM_CLI") == "true"

if not COMMAND:
    from gevent import monkey

    monkey.patch_all()

import fooocus_flask
from fooocus_flask.server import launcher

if __name__ == "__main__":
    faulthandler.enable()  # a crash in a library of C would end the process without a word
    launcher.main()
else:
    with launcher.sentences(CANNOT_BOOT):
        app = fooocus_flask.create_app()
        if not COMMAND:  # which may be run as another user: the secrets that are made here would be that one's
            fooocus_flask.start(launcher.checked(app))
