"""Serves the application: `wsgi:app` under gunicorn or uWSGI, `python wsgi.py …` by itself.

Importing this module starts the engine process; commands (`flask --app fooocus_flask …`) import the package instead.
"""

from gevent import monkey

monkey.patch_all()

import fooocus_flask
from fooocus_flask import launcher

if __name__ == "__main__":
    launcher.main()
else:
    app = launcher.checked(fooocus_flask.create_app())
    fooocus_flask.start(app)
