"""An existing Fooocus's `config.txt`: read as people have it, and its faults told by their true cause."""

from pathlib import Path

import pytest

from fooocus_flask.model_files import config_txt
from fooocus_flask.model_files.config_txt import ConfigError

DATA = Path(__file__).parent / "data" / "config"


def test_a_byte_order_mark_is_no_fault():
    assert config_txt.read(DATA / "bom.txt") == {"default_cfg_scale": 3.5}


def test_an_empty_file_is_none(tmp_path):
    assert config_txt.read(DATA / "empty.txt") == {}
    (tmp_path / "config.txt").write_text(" \n")
    assert config_txt.read(tmp_path / "config.txt") == {}


def test_a_single_backslash_is_told():
    with pytest.raises(ConfigError, match=r"in line 1, column \d+, a backslash stands alone; double"):
        config_txt.read(DATA / "single_backslash.txt")


def test_a_comma_too_many_is_told_and_no_backslash():
    with pytest.raises(ConfigError, match="a comma stands before the closing bracket; remove it") as error:
        config_txt.read(DATA / "trailing_comma.txt")
    assert "backslash" not in str(error.value)


@pytest.mark.parametrize("text", ['{"a": "b', '{"a": 1', '{"a": [1, 2'])
def test_a_text_that_ends_too_early_is_told(tmp_path, text):
    (tmp_path / "config.txt").write_text(text)
    with pytest.raises(ConfigError, match=r"ends too early|line 1, column \d+: ") as error:
        config_txt.read(tmp_path / "config.txt")
    assert "backslash" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk"])
def test_paths_in_any_encoding_are_read(tmp_path, encoding):
    (tmp_path / "config.txt").write_bytes('{"path_loras": "D:/绘画/模型"}'.encode(encoding))
    assert config_txt.read(tmp_path / "config.txt") == {"path_loras": "D:/绘画/模型"}
