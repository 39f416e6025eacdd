"""Why a task failed on a card of the fleet, for the client, whatever Ray wraps around it."""

import errno

import pytest

from engine.fleet.file_store import TransferError


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "space", "A disk of the fleet is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "engine", "a file: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "missing", "No such file"),
        (TransferError("toy is gone; send the request again"), "engine", "toy is gone; send the request again"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_fails_on_a_card_is_told_as_if_it_failed_here(error, kind, told):
    exceptions = pytest.importorskip("ray.exceptions")
    failures = pytest.importorskip("engine.fleet.failures")
    wrapped = exceptions.RayTaskError("write", "traceback", error).as_instanceof_cause()
    for found in (error, wrapped):
        assert told in failures.reason(found)
        assert failures.cause(found) == kind


def test_a_machine_that_does_not_answer_is_told_without_a_word_of_ray():
    exceptions = pytest.importorskip("ray.exceptions")
    failures = pytest.importorskip("engine.fleet.failures")
    told = failures.reason(exceptions.GetTimeoutError("Get timed out: some object(s) not ready."))
    assert told == "A machine of the fleet did not answer in time; send the request again"
