"""Lines of the log, whatever is in them."""

import logging

from engine.log_lines import LineFormatter


def test_a_message_is_one_line_of_plain_characters():
    formatter = LineFormatter("%(levelname)s: %(message)s")
    told = "a\nERROR: forged\r\x1b[2Jb\u202ec \u732b\x9b\x00"
    try:
        raise ValueError(told)
    except ValueError as error:
        info = type(error), error, error.__traceback__
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "said %s", (told,), info)
    first, *rest = formatter.format(record).splitlines()
    assert first == r"INFO: said a\x0aERROR: forged\x0d\x1b[2Jb\u202ec " + "\u732b" + r"\x9b\x00"
    assert rest[0].startswith("Traceback") and "raise ValueError" in rest[2]
    assert not [line for line in rest if set("\x1b\u202e\x9b\x00\r") & set(line)]
