"""Who the learners of a first load are: kept aside run by run, resolved and put in order at its end.

The same rules as in ``learners.py``, for rows that are not in the database yet: by student id, each with its newest
facts. So ``learners`` is filled once and in order, whatever the order of the runs.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcampaign.arrow_values import from_numpy, scalar, to_numpy
from mmcampaign.store.learners import RETIRED_NAME

KEPT_BYTES = 128 << 20  # in memory; what is more goes to the scratch folder, and is read from there as it is needed
BATCH = 65_536  # rows that are resolved together

_RETIRED_ADDRESS = re.compile(rf"{RETIRED_NAME}.*@retired\.invalid", re.DOTALL)
_NEVER = np.iinfo(np.int16).max
_IDENTITY, _NAMED = ("email", "username"), ("name", "country")
Numbers = npt.NDArray[np.int64]
Texts = Callable[[pa.Table], list[tuple[str | bool, ...]]]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The people of a run, by student id, and the stamps of the two reports they are from."""

    people: pa.Table
    graded_at: datetime | None
    enrolled_at: datetime | None

    def between(self, low: int, high: int, stamps: Sequence[datetime]) -> pa.Table:
        """Those with ids from ``low`` up to, but without, ``high``; stamps as their places in order."""
        ids = to_numpy(self.people["student_id"])
        start, end = np.searchsorted(ids, [low, high])
        rows = self.people.slice(start, end - start)
        graded, enrolled = (scalar(_place(at, stamps), pa.int16()) for at in (self.graded_at, self.enrolled_at))
        never = scalar(_NEVER, pa.int16())
        retired = (
            pc.if_else(rows["retired_graded"], graded, never),
            pc.if_else(rows["retired_enrolled"], enrolled, never),
        )
        rows = rows.append_column("seen", pc.if_else(rows["of_profile"], enrolled, graded))
        rows = rows.append_column("profile_seen", pc.if_else(rows["enrolled"], enrolled, scalar(-1, pa.int16())))
        rows = rows.append_column("retired", pc.min_element_wise(*retired))
        return rows.drop_columns(["of_profile", "enrolled", "retired_graded", "retired_enrolled"])


def _place(stamp: datetime | None, stamps: Sequence[datetime]) -> int:
    return -1 if stamp is None else stamps.index(stamp)


class FirstLearners:
    """The people of all runs of a first load; ``folder`` takes what does not fit into memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: list[_Run] = []
        self._bytes = 0

    def add(self, people: pa.Table, *, graded_at: datetime | None, enrolled_at: datetime | None) -> None:
        """Keep the ``Joined.people`` of one run."""
        people = people.combine_chunks()
        self._bytes += people.nbytes
        if self._bytes > KEPT_BYTES:
            self._bytes -= people.nbytes
            people = _spilt(people, self._folder / f"people-{len(self._runs)}.arrow")
        self._runs.append(_Run(people=people, graded_at=graded_at, enrolled_at=enrolled_at))

    @property
    def stamps(self) -> list[datetime]:
        """All stamps there are, oldest first; ``batches`` names them by their places."""
        known = {at for run in self._runs for at in (run.graded_at, run.enrolled_at) if at is not None}
        return sorted(known)

    def batches(self) -> Iterator[pa.Table]:
        """Each learner once, by student id, as ``newest`` says it."""
        stamps, bounds = self.stamps, self._bounds()
        for low, high in pairwise(bounds):
            parts = [run.between(low, high, stamps) for run in self._runs]
            yield newest(pa.concat_tables(parts).combine_chunks())

    def _bounds(self) -> list[int]:
        """Ids that divide the learners into batches of about the same size."""
        rows = sum(len(run.people) for run in self._runs)
        if not rows:
            return []
        step = max(1, len(self._runs))  # a part of the ids shows where the others are
        ids = np.concatenate([to_numpy(run.people["student_id"])[::step] for run in self._runs if len(run.people)])
        ids.sort()
        inner = ids[:: max(1, BATCH // step)][1:].tolist()
        last = max(int(to_numpy(run.people["student_id"])[-1]) for run in self._runs if len(run.people))
        return [0, *dict.fromkeys(inner), last + 1]


def _spilt(people: pa.Table, path: Path) -> pa.Table:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, people.schema) as writer:
        writer.write_table(people)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def newest(rows: pa.Table) -> pa.Table:
    """One row a learner, by id, of any number of rows for each: ``learners.py`` says by which rules.

    ``seen``, ``profile_seen`` (-1: in no profile) and ``retired`` are places of stamps, oldest first.
    """
    ids = to_numpy(rows["student_id"])
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
    retired = to_numpy(rows["retired"])
    who, what = order[starts], order[starts]
    several = np.diff(starts, append=len(ids)) > 1
    if several.any():
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(ids)))
        among = several[group]
        group, places = group[among], order[among]
        of_rows = rows.take(from_numpy(places))
        who, what = who.copy(), what.copy()
        who[several] = places[_highest(of_rows, group, _identity_rank(of_rows), _IDENTITY, _identity_texts)]
        what[several] = places[_highest(of_rows, group, _profile_rank(of_rows), _NAMED, _profile_texts)]
    first = np.minimum.reduceat(retired[order], starts) if len(starts) else retired
    is_retired = from_numpy(first != _NEVER)
    nothing, never, zero = scalar(None, pa.string()), scalar(None, pa.int16()), scalar(0, pa.int16())
    of_person = {name: rows[name].take(from_numpy(who)) for name in ("student_id", "username", "email", "email_key")}
    of_profile = {name: rows[name].take(from_numpy(what)) for name in ("name", "country")}
    seen, profile_seen = rows["seen"].take(from_numpy(who)), rows["profile_seen"].take(from_numpy(what))
    return pa.table(
        {
            **of_person,
            **{name: pc.if_else(is_retired, nothing, values) for name, values in of_profile.items()},
            "retired_at": pc.if_else(is_retired, from_numpy(first), never),
            "seen_at": seen,
            "profile_seen_at": pc.if_else(pc.greater_equal(profile_seen, zero), profile_seen, never),
        }
    )


def _identity_rank(rows: pa.Table) -> tuple[Numbers, ...]:
    return (to_numpy(rows["retired"]) != _NEVER).astype(np.int64), to_numpy(rows["seen"])


def _profile_rank(rows: pa.Table) -> tuple[Numbers, ...]:
    return (to_numpy(rows["profile_seen"]),)


def _identity_texts(rows: pa.Table) -> list[tuple[str | bool, ...]]:
    """What decides in one minute: a retired address, then any order that is always the same."""
    texts = zip(*(rows[name].to_pylist() for name in ("email_key", "email", "username")), strict=True)
    return [(bool(_RETIRED_ADDRESS.fullmatch(key or email)), email, username) for key, email, username in texts]


def _profile_texts(rows: pa.Table) -> list[tuple[str | bool, ...]]:
    return [
        (name or "", country or "") for name, country in zip(*(rows[name].to_pylist() for name in _NAMED), strict=True)
    ]


def _highest(
    rows: pa.Table, group: Numbers, ranks: tuple[Numbers, ...], names: tuple[str, ...], texts: Texts
) -> Numbers:
    """The place of the highest row of each group: by ranks, then by texts, which few need."""
    order = np.lexsort((*reversed(ranks), group))
    tied = np.flatnonzero(np.logical_and.reduce([np.diff(key[order]) == 0 for key in (group, *ranks)]))
    one, other = order[tied], order[tied + 1]
    differ = np.zeros(len(tied), bool)
    for name in names:
        pair = (pc.fill_null(rows[name].take(from_numpy(places)), scalar("", pa.string())) for places in (one, other))
        differ |= to_numpy(pc.not_equal(*pair))
    if differ.any():
        members = np.flatnonzero(np.isin(group, group[one[differ]]))
        values = texts(rows.take(from_numpy(members)))
        places = {value: place for place, value in enumerate(sorted(set(values)))}
        last = np.zeros(len(group), np.int64)
        last[members] = [places[value] for value in values]
        order = np.lexsort((last, *reversed(ranks), group))
    return order[np.flatnonzero(np.diff(group[order], append=-1))]
