"""The API that each task came by, where it is not our own."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TASK = "generate_record"


def upgrade() -> None:
    op.add_column(TASK, sa.Column("api", sa.JSON()))


def downgrade() -> None:
    op.drop_column(TASK, "api")
