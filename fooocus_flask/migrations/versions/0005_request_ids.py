"""The name of the request that each task came with."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("generate_record", sa.Column("request_id", sa.String(128)))


def downgrade() -> None:
    op.drop_column("generate_record", "request_id")
