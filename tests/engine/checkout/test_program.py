"""The program of a checkout between two tasks."""

from engine.checkout.program import Program


def test_a_scratch_folder_that_cannot_be_cleared_ends_nothing(tmp_path, caplog):
    program = object.__new__(Program)  # which would import the checkout
    program.saved, program.scratch = {"a.png": None}, tmp_path / "gone"
    program.clear_scratch()
    assert not program.saved and "the scratch folder is not cleared" in caplog.text
