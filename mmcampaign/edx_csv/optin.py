"""edX's e-mail opt-in list: who agreed to hear from the organisation (edx-exports 16).

Lists are long, a row for each enrollment over all courses, so they are streamed and only the newest choice of each
person is kept. People are known by user id, in lists from before January 2017 by address.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import pandas as pd
import pyarrow as pa

from mmcampaign.edx_csv.blocks import Block, split_blocks
from mmcampaign.edx_csv.header import cells_of, kind_of_header
from mmcampaign.edx_csv.names import OPT_IN
from mmcampaign.edx_csv.opening import AGAIN, open_report
from mmcampaign.edx_csv.rows import Chunk, RejectedRow
from mmcampaign.errors import InputError

_ID = r"[1-9][0-9]{0,17}"
_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?(\+00:00)?"
_NO_CHOICE = r"2014-12-01 00:00:00(\.0+)?(\+00:00)?"  # with True: nobody chose (E48)
_CHOICES = {"True": "granted", "False": "refused"}
_KEEP = 500_000  # rows gathered before they are reduced to one for each person

_HEADER = "header"

Person = int | str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one person chose last. ``person`` is an edX user id, or a case-folded address where the list has no ids."""

    person: Person
    choice: str
    chosen_at: datetime | None


class OptInList:
    """A list being read: ``chunks()`` once, then ``choices()``."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the header. Raises InputError when the file is no opt-in list."""
        record = open_report(file)
        self._file = file
        self._lines = record.count(b"\n") + 1
        self._header = cells_of(record)
        self._names = [name.strip().lower() for name in self._header]
        if kind_of_header(self._header) != OPT_IN:
            raise InputError("The first line is not that of an e-mail opt-in list.", todo=AGAIN)
        self.by_id = "user_id" in self._names
        person = "user_id" if self.by_id else "email"
        ours = {person: "person", "is_opted_in_for_email": "choice", "preference_set_datetime": "at"}
        self._places = {self._names.index(theirs): name for theirs, name in ours.items()}
        self._parts: list[pd.DataFrame] = []
        self._gathered = 0

    def chunks(self) -> Iterator[Chunk]:
        """The rows; repeated header lines count neither as accepted nor rejected (E47)."""
        for block in split_blocks(self._file, cells=len(self._header), first_line=self._lines + 1):
            frame = self._parse(block)
            problems = self._problems(frame)
            sound = frame[problems == ""]
            self._gather(sound)
            places = problems.index[(problems != "") & (problems != _HEADER)].tolist()
            rejected = (
                RejectedRow(line=block.line(place), reason=problems[place], raw=block.raw(place)) for place in places
            )
            yield Chunk(rows=pa.table({"person": sound["person"].tolist()}), rejected=tuple(rejected), tracks={})

    def choices(self) -> Iterator[Choice]:
        """The newest choice of each person: a dated one before none, on one date a refusal before a consent."""
        self._reduce()
        for part in self._parts:
            for person, choice, at in part.itertuples(index=False, name=None):
                known = choice != "unknown"
                yield Choice(person=person, choice=choice, chosen_at=at.to_pydatetime() if known else None)

    def _parse(self, block: Block) -> pd.DataFrame:
        try:
            frame = pd.read_csv(
                io.BytesIO(block.data),
                header=None,
                names=[name for _, name in sorted(self._places.items())],
                usecols=sorted(self._places),
                dtype=str,
                na_filter=False,
                index_col=False,
                skip_blank_lines=False,
                engine="c",
            )
        except ValueError as error:
            raise _unreadable(block) from error
        if len(frame) != block.records:
            raise _unreadable(block)
        return frame

    def _problems(self, frame: pd.DataFrame) -> "pd.Series[str]":
        """What is wrong with each row, empty for nothing."""
        problems = pd.Series("", index=frame.index, dtype=object)
        person = frame["person"].str.fullmatch(_ID) if self.by_id else frame["person"].str.contains("@")
        problems[~frame["at"].str.fullmatch(_TIME)] = "The time of the choice is not one edX writes."
        problems[~frame["choice"].isin(list(_CHOICES))] = "The choice is neither True nor False."
        problems[~person] = "The learner's id is not a whole number." if self.by_id else "The address is none."
        header = [self._header[place] for place in sorted(self._places)]
        problems[(frame == header).all(axis=1)] = _HEADER
        times = pd.to_datetime(frame["at"].where(problems == ""), format="ISO8601", utc=True, errors="coerce")
        problems[(problems == "") & times.isna()] = "The time of the choice is no date and time."
        return problems

    def _gather(self, frame: pd.DataFrame) -> None:
        nobody_chose = (frame["choice"] == "True") & frame["at"].str.fullmatch(_NO_CHOICE)
        part = pd.DataFrame(
            {
                "person": frame["person"].astype("int64") if self.by_id else frame["person"].str.casefold(),
                "choice": frame["choice"].map(_CHOICES).mask(nobody_chose, "unknown"),
                "at": pd.to_datetime(frame["at"], format="ISO8601", utc=True),
            }
        )
        self._parts.append(part)
        self._gathered += len(part)
        if self._gathered > _KEEP:
            self._reduce()

    def _reduce(self) -> None:
        if not self._parts:
            return
        every = pd.concat(self._parts, ignore_index=True)
        rank = every["choice"].map({"unknown": 0, "granted": 1, "refused": 2})
        every = every.assign(dated=rank > 0, rank=rank).sort_values(["person", "dated", "at", "rank"])
        self._parts = [every.drop_duplicates("person", keep="last")[["person", "choice", "at"]]]
        self._gathered = 0


def _unreadable(block: Block) -> InputError:
    return InputError(f"A stray quote or line break stands in line {block.first_line} or after it.", todo=AGAIN)
