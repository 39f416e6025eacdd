"""What a task tells of its steps, and what can be read out of it again."""

import pytest

from engine.progress import sampling_message, sampling_step


@pytest.mark.parametrize("step", [(1, 30), (200, 200)])
def test_the_step_of_a_message_can_be_read_again(step):
    assert sampling_step(sampling_message(*step, "image 1/2")) == step


@pytest.mark.parametrize("message", ["", "Loading models ...", "Sampling step x/30, image 1/2 ..."])
def test_other_messages_tell_of_no_step(message):
    assert sampling_step(message) == (0, 0)
