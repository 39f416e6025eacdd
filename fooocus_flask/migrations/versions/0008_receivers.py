"""The host that each webhook goes to, so that none keeps up the others."""

from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

DELIVERY = "webhook_delivery"


def upgrade() -> None:
    op.add_column(DELIVERY, sa.Column("host", sa.String(300), nullable=False, server_default=""))
    table = sa.table(DELIVERY, sa.column("id"), sa.column("url"), sa.column("due_mills"), sa.column("host"))
    connection = op.get_bind()
    owed = connection.execute(sa.select(table.c.id, table.c.url).where(table.c.due_mills.is_not(None))).all()
    for number, url in owed:
        connection.execute(table.update().where(table.c.id == number).values(host=host_of(url)))


def host_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ""
    return f"{host.rstrip('.')[:256]}:{port}" if host else ""


def downgrade() -> None:
    op.drop_column(DELIVERY, "host")
