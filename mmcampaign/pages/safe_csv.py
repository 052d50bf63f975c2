"""CSV that opens right in a spreadsheet and never runs there (edX case E29).

Names, addresses and subjects come from outside. A spreadsheet takes a cell that starts with ``= + - @`` for a formula,
so such a cell gets an apostrophe in front, the spreadsheet's own mark for "this is text" (OWASP, "CSV Injection").
"""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

# Blanks and invisible characters are skipped by some spreadsheets before they look for a formula; full-width signs
# count in Japanese ones; where the list separator is a semicolon, one inside a cell starts the next cell, and so may
# a tab or a line break. A sign with nothing behind it ("-" for "no grade known") is no formula.
_SKIPPED = r"(?:[^\S\t\r\n]|[\x00-\x08\x0e-\x1f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff])*"
_FORMULA = re.compile(rf"(^|[;\t\r\n])({_SKIPPED}[=+\-@＝＋－＠])(?=.)", re.DOTALL)

# What nearly every cell is: its first character is a letter, a digit or _, which is no sign and is not skipped, and
# nothing in it starts another cell. Measured on a report: six times as fast as looking for a formula.
_HARMLESS = re.compile(r"\w[^;\t\r\n]*|-?")


def safe_cell(value: object) -> object:
    """The value as it may stand in a CSV file: text that a spreadsheet would execute is marked as text.

    Numbers, dates and None pass unchanged, and so does all harmless text. Doing it twice changes nothing more.
    """
    if not isinstance(value, str) or _HARMLESS.fullmatch(value):
        return value
    return _FORMULA.sub(r"\1'\2", value)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Write one CSV file in a single pass and return how many rows it has, the header not counted.

    UTF-8 with a byte order mark, without which Excel garbles every accent; CR LF as in RFC 4180.
    """
    count = 0
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(header)
        for count, row in enumerate(rows, start=1):  # noqa: B007  the last number is the result
            writer.writerow([safe_cell(cell) for cell in row])
    return count
