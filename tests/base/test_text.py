"""Text for people and for other programs."""

import csv
import io
import re

import pytest

from oltr_cli.base.text import spreadsheet_cell, visible_lines


@pytest.mark.parametrize(
    "text", ["=1+1", "+4", "-x", "@SUM(A1)", "\tx", "\rx", "'=1", "''-x", "'owl'", "owl", "", "a=b"]
)
def test_a_spreadsheet_sees_no_formula_and_the_text_can_be_restored(text):
    out = io.StringIO()
    csv.writer(out).writerow([spreadsheet_cell(text)])
    ((cell,),) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert re.sub(r"^'('*[=+\-@\t\r])", r"\1", cell) == text
    assert (cell == text) == (text in ("'owl'", "owl", "", "a=b"))


def test_numbers_stay_numbers():
    assert spreadsheet_cell(-1.5) == -1.5


def test_control_characters_are_spelled_out_and_lines_stay():
    assert visible_lines("a\x1b[31m\n\x07b\r") == "a\\x1b[31m\n\\x07b\\r"
