"""Model files that a waiting task needs first."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TASK = "generate_record"


def upgrade() -> None:
    op.add_column(TASK, sa.Column("downloads", sa.JSON()))


def downgrade() -> None:
    op.drop_column(TASK, "downloads")
