"""The tag head: one tag of each group, and files that are none."""

import pytest
import torch
from safetensors.torch import save_file

from engine.detectors.tag_head import TagHead
from engine.errors import CheckpointError
from tests.engine.detectors.tag_heads import GROUPS, tag_head
from tests.engine.detectors.vision_towers import PROJECTED

CPU = torch.device("cpu")


def vector(*ones):
    """A vector with ones at these places."""
    whole = torch.zeros(1, PROJECTED)
    whole[0, list(ones)] = 1
    return whole


def test_each_group_has_its_likeliest_tag_with_its_share(tmp_path):
    head = TagHead.load(tag_head(tmp_path / "head.safetensors"), CPU)
    found = head.tags(vector(1, 5, 8))
    assert {group: found[group].tag for group in found} == {
        "object": "cat",
        "count": "two things",
        "colour": "red",
        "place": "plain background",
    }
    assert found["object"].share == pytest.approx(torch.tensor([0.0, 10, 0]).softmax(0)[1].item(), rel=0.01)
    assert found["colour"].share == pytest.approx(0.5)
    assert (head.groups, head.coloured) == (GROUPS, {"apple", "cat"})


def test_another_encoders_vector_is_refused(tmp_path):
    head = TagHead.load(tag_head(tmp_path / "head.safetensors"), CPU)
    with pytest.raises(CheckpointError, match=f"vectors {PROJECTED} wide, not 7"):
        head.tags(torch.zeros(1, 7))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"groups": {}}, "no tag head"),
        ({"bias": torch.zeros(3)}, "outputs and 10 tags"),
        ({"groups": {"object": ["apple"]}, "weight": torch.zeros(2, PROJECTED)}, "2 outputs and 1 tags"),
    ],
)
def test_a_file_that_is_no_head_is_named(tmp_path, changes, complaint):
    with pytest.raises(CheckpointError, match=rf"odd\.safetensors: .*{complaint}"):
        TagHead.load(tag_head(tmp_path / "odd.safetensors", **changes), CPU)


def test_a_file_that_is_not_packed_or_not_there_is_named(tmp_path):
    save_file({"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match=r"plain\.safetensors: no tag head"):
        TagHead.load(tmp_path / "plain.safetensors", CPU)
    with pytest.raises(CheckpointError, match=r"none\.safetensors: there is no such file"):
        TagHead.load(tmp_path / "none.safetensors", CPU)
