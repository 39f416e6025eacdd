"""Secrets that are made when they are first needed, and kept in the instance folder."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import secrets
import tempfile
from pathlib import Path

from fooocus_flask.errors import StartError

BYTES = 32
FEWEST_BYTES = 24
"""What a file must hold at least: an operator may have put a secret of his own there."""
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without hard links says of them."""


class SecretError(StartError):
    """A secret is missing, broken or none; the text says what to do."""


def kept(path: Path, prefix: str = "") -> str:
    """The secret in this file, the prefix and base64; it is made if it is not there, and only its owner may read it.

    Raises:
        SecretError: the file cannot be read or written, or holds no secret. An empty one would let anybody sign.
    """
    try:
        if not path.exists():
            _make(path, prefix + base64.b64encode(secrets.token_bytes(BYTES)).decode())
        secret = path.read_bytes().decode("ascii", "replace").strip()
    except OSError as error:
        raise SecretError(f"The secret in {path} cannot be read: {error.strerror}; let this user read it") from None
    if not _is_secret(secret, prefix):
        raise SecretError(
            f"{path} holds no secret (it may have been cut off by a full disk); restore it, or delete it to have a new "
            "one made: what was signed with the old one is then void"
        )
    return secret


def _make(path: Path, secret: str) -> None:
    """Put a new secret there whole, or nothing; where two start at once, the first one's stays.

    It is written under another name, and reaches the disk before it gets its own, which a link gives only once.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # readable by its owner only
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        _name(Path(temporary), path)
    except FileExistsError:
        pass
    except OSError as error:
        text = f"The secret {path} cannot be written: {error.strerror}; free some space there, or let this user write"
        raise SecretError(text) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _name(temporary: Path, path: Path) -> None:
    """Give the file its name, unless another one has it; where there are no hard links, a copy of it.

    Raises:
        FileExistsError: another one has the name.
        OSError: the disk is full.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        copy = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(copy, "wb") as file:
                file.write(temporary.read_bytes())
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise


def _is_secret(text: str, prefix: str) -> bool:
    if not text.startswith(prefix):
        return False
    try:
        return len(base64.b64decode(text.removeprefix(prefix), validate=True)) >= FEWEST_BYTES
    except (binascii.Error, ValueError):
        return False
