"""What a translated request leaves in its task's row."""

import pytest

from fooocus_flask.errors import FooocusError
from fooocus_flask.submission.submit import Translation, submit
from fooocus_flask.tasks import queue
from tests.serving import small

pytestmark = pytest.mark.sql("submission/submit")


def test_a_translation_is_kept_with_the_task_and_its_notes_come_first(app):
    api, notes = {"name": "another", "kind": "edit"}, ("markup is left out: nothing here reads it",)
    with app.test_request_context():
        native = submit(small()).task
        task = submit(small(preset="anime"), translation=Translation(api, notes)).task
        kept, plain = queue.find(task.task_id), queue.find(native.task_id)
        assert kept.api == api and kept.notes[: len(notes)] == list(notes)
        assert plain.api is None and not set(notes) & set(plain.notes)


def test_a_task_has_the_id_that_was_wished_for_and_no_other_gets_it(app):
    wished = Translation(task_id="0123456789abcdef" * 2)
    with app.test_request_context():
        assert submit(small(), translation=wished).task.task_id == wished.task_id
        with pytest.raises(FooocusError, match="already; send another, or none") as refused:
            submit(small(), translation=wished)
        assert refused.value.status == 409 and queue.waiting() == 1
