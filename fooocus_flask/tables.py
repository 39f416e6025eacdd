"""The tables: tasks, which are the queue and the history at once, webhooks still to be delivered, keys."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, String, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from engine.params import GenerateParams
from fooocus_flask.database import db

PENDING, RUNNING, FINISHED, FAILED, STOPPED = "pending", "running", "finished", "failed", "stop"
ENDED = (FINISHED, FAILED, STOPPED)

OVER = text("finish_mills IS NOT NULL")
NUMBERED = {"sqlite_autoincrement": True}
"""A row's number is never given again: clients, and greenlets that wait, may still know it."""


class Task(db.Model):  # type: ignore[name-defined]
    """One task. Moments are Unix time in milliseconds; paths lie below the outputs folder.

    `finish_mills` is set if and only if the task has ended. Tasks are drawn by ascending `rank`, then `id`; `work` is
    how much there is to draw, in pixels times steps. `failure` names what kind of failure `error` tells of.
    `downloads` are the model files that must come before it can be drawn, as `KnownFile` has them. `api` tells of the
    API that it came by, where that was not our own: its `name`, and what its answers need besides; with `files_by_id`
    its pictures are named by its id.
    """

    __tablename__ = "generate_record"
    __table_args__ = (
        Index("ix_generate_record_status", "task_status", "id"),
        Index("ix_generate_record_queue", "task_status", "rank", "id", "work"),
        Index("ix_generate_record_ended", "id", sqlite_where=OVER, postgresql_where=OVER),
        Index("ix_generate_record_oldest", "finish_mills", "id", sqlite_where=OVER, postgresql_where=OVER),
        Index("ix_generate_record_ended_range", "in_queue_mills", "id", sqlite_where=OVER, postgresql_where=OVER),
        NUMBERED,
    )

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
    failure: Mapped[str | None] = mapped_column(String(32))
    priority: Mapped[int] = mapped_column(default=0, server_default="0")
    rank: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    work: Mapped[float] = mapped_column(Float, default=0.0, server_default="0")
    stop_asked: Mapped[bool] = mapped_column(default=False, server_default=false())
    webhook_events: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    key_name: Mapped[str | None] = mapped_column(String(64))
    downloads: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    request_id: Mapped[str | None] = mapped_column(String(128))
    api: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    @property
    def params(self) -> GenerateParams:
        """What is drawn; `req_params` holds the same as JSON.

        Raises:
            KeyError: the row is older than one of the parameters.
        """
        return GenerateParams.from_dict(self.req_params)

    @property
    def seed(self) -> str:
        """The first picture's seed, as a text that no client rounds."""
        return str(self.req_params["image_seed"])

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.task_status in ENDED


class Prompt(db.Model):  # type: ignore[name-defined]
    """A task's prompt once more, in small letters: a narrow table, so that looking through all of them is quick."""

    __tablename__ = "task_prompt"

    record_id: Mapped[int] = mapped_column(ForeignKey("generate_record.id", ondelete="CASCADE"), primary_key=True)
    prompt: Mapped[str] = mapped_column(Text)


class RequestKey(db.Model):  # type: ignore[name-defined]
    """An Idempotency-Key that a request carried, what that request asked for, and the task it became."""

    __tablename__ = "request_key"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    record_id: Mapped[int] = mapped_column(ForeignKey("generate_record.id", ondelete="CASCADE"), index=True)
    made_mills: Mapped[int] = mapped_column(BigInteger, index=True)


class Key(db.Model):  # type: ignore[name-defined]
    """A key that a client may carry: its hash, what it may do, and its limits, where 0 is none."""

    __tablename__ = "keys"
    __table_args__ = NUMBERED

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    per_minute: Mapped[int]
    queued: Mapped[int]
    made_mills: Mapped[int] = mapped_column(BigInteger)
    used_mills: Mapped[int | None] = mapped_column(BigInteger)
    revoked_mills: Mapped[int | None] = mapped_column(BigInteger)


class KeyOptions(db.Model):  # type: ignore[name-defined]
    """What the holder of a key chose for later requests by AUTOMATIC1111's API; the name is empty where no key was."""

    __tablename__ = "key_options"

    key_name: Mapped[str] = mapped_column(String(64), primary_key=True)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)


class StorageRemoval(db.Model):  # type: ignore[name-defined]
    """A picture that was deleted here and is still to be deleted in the bucket, where it is called so."""

    __tablename__ = "storage_removal"
    __table_args__ = NUMBERED

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(Text, index=True)


class Switch(db.Model):  # type: ignore[name-defined]
    """Something the operator switched on, until it is switched off: its row is there."""

    __tablename__ = "switch"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    made_mills: Mapped[int] = mapped_column(BigInteger)


def receiver_host(url: str) -> str:
    """The host and port that a webhook's URL names, in one spelling; empty if it names none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ""
    return f"{host.rstrip('.')[:256]}:{port}" if host else ""


class Delivery(db.Model):  # type: ignore[name-defined]
    """A webhook that is owed, or was; `due_mills` is null once it is delivered or given up.

    `message_id` stays the same however often it is sent. `host` is that of its `url`, by which receivers take turns.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = NUMBERED

    id: Mapped[int] = mapped_column(primary_key=True)
    record_id: Mapped[int] = mapped_column(ForeignKey("generate_record.id", ondelete="CASCADE"), index=True)
    url: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(
        String(300), default=lambda context: receiver_host(context.get_current_parameters()["url"]), server_default=""
    )
    event: Mapped[str] = mapped_column(String(16), default="ended", server_default="ended")
    message_id: Mapped[str] = mapped_column(String(64), unique=True, default=lambda: f"msg_{uuid4().hex}")
    made_mills: Mapped[int | None] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(default=0)
    due_mills: Mapped[int | None] = mapped_column(BigInteger, index=True)
    tried_mills: Mapped[int | None] = mapped_column(BigInteger)
    delivered_mills: Mapped[int | None] = mapped_column(BigInteger)
    answer: Mapped[str | None] = mapped_column(Text)
