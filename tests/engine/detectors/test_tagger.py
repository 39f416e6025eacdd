"""Tags of drawings: what the network sees, which tags fit, and how they are spelled."""

import numpy as np
import pytest
import torch

from engine.detectors.tagger import Tagger, Tags, network_input
from engine.errors import CheckpointError
from tests.engine.detectors import onnx_files

CPU = torch.device("cpu")
LIST = """tag_id,name,category,count
1,general,9,10
2,explicit,9,10
3,1girl,0,9
4,long_hair,0,8
5,hat_(blue),0,7
6,miku_(singer),4,6
7,rin,4,5
"""


@pytest.fixture
def tags(tmp_path):
    path = tmp_path / "tags.csv"
    path.write_text(LIST)
    return Tags.load(path, CPU)


def test_tags_that_fit_are_told_characters_first_in_the_lists_order(tags):
    scores = np.array([0.99, 0.99, 0.36, 0.9, 0.5, 0.86, 0.9], np.float32)
    assert tags.fitting(scores) == r"miku \(singer\), rin, 1girl, long hair, hat \(blue\)"


def test_a_score_on_the_limit_does_not_fit(tags):
    assert tags.fitting(np.array([1, 1, 0.35, 0.2, 0, 0.85, 0.5])) == ""


def test_scores_of_another_list_are_refused(tags):
    with pytest.raises(CheckpointError, match="3 scores, its list has 7 tags"):
        tags.fitting(np.zeros(3, np.float32))


def test_the_network_sees_the_whole_picture_on_white_blue_first():
    image = np.zeros((10, 40, 3), np.uint8)
    image[:, :, 0] = 200
    seen = network_input(image, 16)
    assert seen.shape == (1, 16, 16, 3) and seen.dtype == np.float32
    assert seen[0, 0, 0].tolist() == [255, 255, 255]
    assert seen[0, 8, 8].tolist() == [0, 0, 200]
    assert [row for row in range(16) if seen[0, row, 8, 0] < 255] == [6, 7, 8, 9]


def test_a_tagger_scores_a_picture(tmp_path):
    path = onnx_files.tagger(tmp_path / "tagger.onnx", np.eye(3) / 255)
    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = (51, 102, 255)
    np.testing.assert_allclose(Tagger.load(path, CPU).scores(image), [1.0, 0.4, 0.2], rtol=1e-6)


def test_files_of_another_kind_are_refused(tmp_path):
    other = onnx_files.write(tmp_path / "other.onnx", [("Identity", ["in"], ["out"], {})], [1, 3], [1, 3])
    with pytest.raises(CheckpointError, match=r"other\.onnx is no tagger"):
        Tagger.load(other, CPU)
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CheckpointError, match=r"list\.csv: not a list of tags"):
        Tags.load(tmp_path / "list.csv", CPU)
