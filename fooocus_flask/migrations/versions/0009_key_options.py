"""What the holder of each key chose for later requests by AUTOMATIC1111's API."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLE = "key_options"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("key_name", sa.String(64), primary_key=True),
        sa.Column("options", sa.JSON(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table(TABLE)
