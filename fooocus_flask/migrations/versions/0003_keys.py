"""Keys, by their hashes, and which one a task was submitted with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TASK = "generate_record"


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("per_minute", sa.Integer(), nullable=False),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("made_mills", sa.BigInteger(), nullable=False),
        sa.Column("used_mills", sa.BigInteger()),
        sa.Column("revoked_mills", sa.BigInteger()),
    )
    op.add_column(TASK, sa.Column("key_name", sa.String(64)))


def downgrade() -> None:
    op.drop_column(TASK, "key_name")
    op.drop_table("keys")
