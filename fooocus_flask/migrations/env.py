"""How Alembic reaches the database: through the application it is called in."""

from alembic import context
from flask import current_app

from fooocus_flask import tables, upgrades  # noqa: F401 (what tables defines is what the metadata know)
from fooocus_flask.database import db

extension = current_app.extensions["migrate"]
metadata = db.metadata


def online() -> None:
    """Change the tables of the application's database, all together or not at all."""
    with extension.db.engine.connect() as connection, upgrades.transaction(connection):
        context.configure(connection=connection, target_metadata=metadata, **extension.configure_args)
        with context.begin_transaction():  # part of the one that is there
            context.run_migrations()


def offline() -> None:
    """Print the SQL."""
    url = extension.db.engine.url.render_as_string(hide_password=False)
    context.configure(url=url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    offline()
else:
    online()
