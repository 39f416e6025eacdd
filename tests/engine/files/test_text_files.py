"""Texts of people's editors: read in the encoding they were saved in."""

import logging

import pytest

from engine.files.text_files import read_text

TEXTS = {
    "utf-8": "château\n",
    "utf-8-sig": "beta\n",
    "utf-16": "红色\n",
    "utf-16-le": "delta\nepsilon\n",
    "utf-16-be": "delta\nepsilon\n",
    "utf-32": "红色\n",
    "gbk": "一只可爱的猫，坐在窗台上\n城市夜景\n水墨画\n",
    "cp932": "かわいい猫\n夜の街\n水彩画\n",
    "big5": "紅色\n藍色\n綠色\n",
    "euc_kr": "빨강\n파랑\n초록\n",
    "cp1252": "château\nforêt\n",
    "cp1251": "красный\nсиний\nзелёный\n",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_a_text_is_read_in_the_encoding_it_was_saved_in(tmp_path, encoding):
    (tmp_path / "words.txt").write_bytes(TEXTS[encoding].encode(encoding))
    assert read_text(tmp_path / "words.txt") == TEXTS[encoding]


def test_what_is_not_utf_8_is_told_once(tmp_path, caplog):
    path = tmp_path / "words.txt"
    path.write_bytes(TEXTS["cp932"].encode("cp932"))
    with caplog.at_level(logging.INFO):
        assert read_text(path) == read_text(path)
    assert caplog.text.count("is read as cp932") == 1


def test_lines_end_as_they_do_here(tmp_path):
    (tmp_path / "words.txt").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "words.txt") == "a\nb\nc\n"


def test_bytes_of_no_encoding_are_read_all_the_same(tmp_path):
    (tmp_path / "words.txt").write_bytes(bytes(range(128, 256)) * 3)
    assert read_text(tmp_path / "words.txt")


def test_an_empty_file_is_an_empty_text(tmp_path):
    (tmp_path / "words.txt").touch()
    assert read_text(tmp_path / "words.txt") == ""
