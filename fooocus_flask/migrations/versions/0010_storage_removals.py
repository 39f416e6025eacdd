"""Pictures that were deleted and are still to be deleted in the bucket."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLE = "storage_removal"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("path", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(f"ix_{TABLE}_path", TABLE, ["path"])


def downgrade() -> None:
    op.drop_index(f"ix_{TABLE}_path", TABLE)
    op.drop_table(TABLE)
