"""Row numbers that are never given again, and a message's name for every webhook."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NUMBERED = ("generate_record", "webhook_delivery", "keys")
NAME_DELIVERIES = """
UPDATE webhook_delivery SET message_id = 'msg_' ||
    (SELECT task_id FROM generate_record WHERE generate_record.id = webhook_delivery.record_id)
WHERE message_id IS NULL
"""
"""The name under which those of the first revision were sent, whose tasks had one webhook each."""


def upgrade() -> None:
    op.execute(NAME_DELIVERIES)
    rebuild(sqlite_autoincrement=True)
    with op.batch_alter_table("webhook_delivery") as table:
        table.alter_column("message_id", existing_type=sa.String(64), nullable=False)


def rebuild(**options: bool) -> None:
    """Make the tables with these options of SQLite's, which gives a deleted row's number again where they don't say
    otherwise; PostgreSQL's sequences never do."""
    if op.get_bind().dialect.name != "sqlite":
        return
    for name in NUMBERED:
        with op.batch_alter_table(name, recreate="always", table_kwargs=options):
            pass


def downgrade() -> None:
    with op.batch_alter_table("webhook_delivery") as table:
        table.alter_column("message_id", existing_type=sa.String(64), nullable=True)
    rebuild(sqlite_autoincrement=False)
