"""Tasks, and the webhooks they owe."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "generate_record",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("task_id", sa.String(255), nullable=False, unique=True),
        sa.Column("req_params", sa.JSON(), nullable=False),
        sa.Column("in_queue_mills", sa.BigInteger(), nullable=False),
        sa.Column("start_mills", sa.BigInteger()),
        sa.Column("finish_mills", sa.BigInteger()),
        sa.Column("task_status", sa.String(255), nullable=False),
        sa.Column("progress", sa.Float()),
        sa.Column("webhook_url", sa.Text(), nullable=False),
        sa.Column("result", sa.JSON()),
        sa.Column("pictures_done", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("drawn_with", sa.JSON()),
        sa.Column("checkpoint", sa.Text()),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("files", sa.JSON()),
    )
    op.create_index("ix_generate_record_in_queue_mills", "generate_record", ["in_queue_mills"])
    op.create_index("ix_generate_record_status", "generate_record", ["task_status", "id"])
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("record_id", sa.Integer(), sa.ForeignKey("generate_record.id", ondelete="CASCADE"), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_mills", sa.BigInteger()),
        sa.Column("delivered_mills", sa.BigInteger()),
        sa.Column("answer", sa.Text()),
    )
    op.create_index("ix_webhook_delivery_record_id", "webhook_delivery", ["record_id"])
    op.create_index("ix_webhook_delivery_due_mills", "webhook_delivery", ["due_mills"])


def downgrade() -> None:
    op.drop_table("webhook_delivery")
    op.drop_table("generate_record")
