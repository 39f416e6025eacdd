"""The tables: tasks, which are the queue and the history at once, and webhooks still to be delivered."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fooocus_flask.database import db

PENDING, RUNNING, FINISHED, FAILED, STOPPED = "pending", "running", "finished", "failed", "stop"
ENDED = (FINISHED, FAILED, STOPPED)


class Task(db.Model):  # type: ignore[name-defined]
    """One task. Moments are Unix time in milliseconds; paths lie below the outputs folder."""

    __tablename__ = "generate_record"
    __table_args__ = (Index("ix_generate_record_status", "task_status", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(String(255), unique=True)
    req_params: Mapped[dict[str, Any]] = mapped_column(JSON)
    in_queue_mills: Mapped[int] = mapped_column(BigInteger, index=True)
    start_mills: Mapped[int | None] = mapped_column(BigInteger)
    finish_mills: Mapped[int | None] = mapped_column(BigInteger)
    task_status: Mapped[str] = mapped_column(String(255), default=PENDING)
    progress: Mapped[float | None] = mapped_column(Float)
    webhook_url: Mapped[str] = mapped_column(Text, default="")
    result: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    pictures_done: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[list[str]] = mapped_column(JSON, default=list)
    drawn_with: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    checkpoint: Mapped[str | None] = mapped_column(Text)
    base_url: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    files: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))

    @property
    def seed(self) -> str:
        """The first picture's seed, as a text that no client rounds."""
        return str(self.req_params["image_seed"])

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.task_status in ENDED


class Delivery(db.Model):  # type: ignore[name-defined]
    """A webhook that is owed, or was; `due_mills` is null once it is delivered or given up."""

    __tablename__ = "webhook_delivery"

    id: Mapped[int] = mapped_column(primary_key=True)
    record_id: Mapped[int] = mapped_column(ForeignKey("generate_record.id", ondelete="CASCADE"), index=True)
    url: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    due_mills: Mapped[int | None] = mapped_column(BigInteger, index=True)
    delivered_mills: Mapped[int | None] = mapped_column(BigInteger)
    answer: Mapped[str | None] = mapped_column(Text)
