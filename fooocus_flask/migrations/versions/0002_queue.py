"""The queue's order, prompts to search, keys of requests, the operator's switches, and what webhooks went through."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TASK, DELIVERY = "generate_record", "webhook_delivery"
OVER = sa.text("finish_mills IS NOT NULL")


def upgrade() -> None:
    with op.batch_alter_table(TASK) as table:
        table.add_column(sa.Column("failure", sa.String(32)))
        table.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("rank", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("work", sa.Float(), nullable=False, server_default="0"))
        table.add_column(sa.Column("stop_asked", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("webhook_events", sa.JSON()))
    op.execute("UPDATE generate_record SET rank = in_queue_mills")
    op.create_index("ix_generate_record_queue", TASK, ["task_status", "rank", "id", "work"])
    for name, columns in (("ended", ["id"]), ("ended_range", ["in_queue_mills", "id"])):
        op.create_index(f"ix_generate_record_{name}", TASK, columns, sqlite_where=OVER, postgresql_where=OVER)
    op.create_table(
        "task_prompt",
        sa.Column("record_id", sa.Integer(), sa.ForeignKey(f"{TASK}.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("prompt", sa.Text(), nullable=False),
    )
    copy_prompts()
    op.create_table(
        "request_key",
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("record_id", sa.Integer(), sa.ForeignKey(f"{TASK}.id", ondelete="CASCADE"), nullable=False),
        sa.Column("made_mills", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_request_key_record_id", "request_key", ["record_id"])
    op.create_index("ix_request_key_made_mills", "request_key", ["made_mills"])
    op.create_table(
        "switch",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("made_mills", sa.BigInteger(), nullable=False),
    )
    with op.batch_alter_table(DELIVERY) as table:
        table.add_column(sa.Column("event", sa.String(16), nullable=False, server_default="ended"))
        table.add_column(sa.Column("message_id", sa.String(64)))
        table.add_column(sa.Column("made_mills", sa.BigInteger()))
        table.add_column(sa.Column("tried_mills", sa.BigInteger()))
        table.create_unique_constraint("uq_webhook_delivery_message_id", ["message_id"])


def copy_prompts() -> None:
    """Make the prompts of the tasks that are there searchable."""
    tasks = sa.table(TASK, sa.column("id", sa.Integer), sa.column("req_params", sa.JSON))
    prompts = sa.table("task_prompt", sa.column("record_id", sa.Integer), sa.column("prompt", sa.Text))
    rows = op.get_bind().execute(sa.select(tasks.c.id, tasks.c.req_params)).all()
    if rows:
        op.bulk_insert(
            prompts, [{"record_id": row.id, "prompt": row.req_params.get("prompt", "").lower()} for row in rows]
        )


def downgrade() -> None:
    with op.batch_alter_table(DELIVERY) as table:
        table.drop_constraint("uq_webhook_delivery_message_id", type_="unique")
        for name in ("event", "message_id", "made_mills", "tried_mills"):
            table.drop_column(name)
    for name in ("switch", "request_key", "task_prompt"):
        op.drop_table(name)
    for name in ("queue", "ended", "ended_range"):
        op.drop_index(f"ix_generate_record_{name}", TASK)
    # Not as a batch: that makes the table anew, and dropping the old one would take the webhooks along.
    for name in ("failure", "priority", "rank", "work", "stop_asked", "webhook_events"):
        op.drop_column(TASK, name)
