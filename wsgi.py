"""Serves the application: `wsgi:app` under gunicorn or uWSGI, `python wsgi.py …` by itself.

Importing this module starts the engine process, but for commands: `flask --app wsgi …`.
"""

import faulthandler
import gc
import importlib.metadata
import os

gc.disable()  # until all that stays is made: a tenth of the start would go into looking for garbage among modules

CANNOT_BOOT = 3  # by which gunicorn knows that starting another worker would not help
COMMAND = os.environ.get("FLASK_RUN_FROM_CLI") == "true"

if not COMMAND:
    from gevent import monkey

    # gevent asks 25 times for plugins of its own, and each time the descriptions of all packages would be read.
    read_each_time = importlib.metadata.entry_points
    importlib.metadata.entry_points = read_each_time().select
    monkey.patch_all()
    importlib.metadata.entry_points = read_each_time

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
    gc.enable()
