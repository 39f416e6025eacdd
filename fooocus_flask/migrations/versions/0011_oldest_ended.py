"""An index by which the tasks that ended first are found without looking at all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NAME, TABLE = "ix_generate_record_oldest", "generate_record"
OVER = sa.text("finish_mills IS NOT NULL")


def upgrade() -> None:
    op.create_index(NAME, TABLE, ["finish_mills", "id"], sqlite_where=OVER, postgresql_where=OVER)


def downgrade() -> None:
    op.drop_index(NAME, TABLE)
