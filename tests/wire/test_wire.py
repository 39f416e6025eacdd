"""A short run of the program: the same requests each time; `python -m tests.wire` makes up more."""

import pytest

from tests.wire.running import arguments, look

pytestmark = pytest.mark.sql("tasks/history", "tasks/queue")


MANY_MEMBERS = "/generation/image-(enhance|inpaint|prompt)"
"""Routes of the predecessor whose many members would each be asked for once more."""


OF_ROWS = "^/(tasks|v1/engine/(control|queue)|v1/generation/(job|query|stop|text)|sdapi/v1/options)"
"""Routes whose values go into statements of every kind: what is asked of PostgreSQL too."""


@pytest.mark.timeout(3600)
def test_answers_are_as_the_document_says(database, tmp_path):
    words = ["--examples", "5", "--seed", "1"]
    words += ["--without", MANY_MEMBERS] if database == "SQLite" else ["--only", OF_ROWS]
    assert not look(tmp_path, arguments(words))
