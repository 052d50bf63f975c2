"""The rows of one file of an ingest, which no earlier ingest has read: checked, counted and staged, then merged."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mmcampaign.edx_csv import GRADES, OPT_IN, parse_name, term_and_year
from mmcampaign.edx_csv.mended import header_text, read_mended
from mmcampaign.edx_csv.reading import Report, open_odd, open_plain
from mmcampaign.edx_csv.rows import ROWS
from mmcampaign.errors import InputError
from mmcampaign.ingest_ready import Outcome, Ready, log, logged, refused
from mmcampaign.model import Course
from mmcampaign.store.engine import Store
from mmcampaign.store.exports import Export, merge_export
from mmcampaign.store.holdback import LossLimit
from mmcampaign.store.import_log import Changes, ImportEntry
from mmcampaign.store.staging import Staging, open_staging, staged_grades, staged_profiles
from mmcampaign.store.supplements import merge_supplement, standing_in
from mmcampaign.tally import Tally


class RowReading(NamedTuple):
    """How the rows of a file are read; ``folder`` is for them, ``course`` None for an e-mail opt-in list."""

    store: Store
    course: Course | None
    loss: LossLimit
    on_rows: Callable[[int], None]
    folder: Path
    insist: bool

    def read(self, file: BinaryIO, entry: ImportEntry) -> Ready:
        """Read the rows; a file that must be refused for them is refused as a whole."""
        tally = Tally()
        try:
            if entry.kind == OPT_IN:
                return self._read_choices(file, entry, tally)
            return self._read_report(file, entry, tally)
        except InputError as refusal:
            return logged(self.store, _refused_rows(entry, tally, refusal))

    def _read_report(self, file: BinaryIO, entry: ImportEntry, tally: Tally) -> Ready:
        """As edX writes it; what is refused like that is looked at once more, for it may be a known odd form."""
        sift = self._sifted(file, entry)
        try:
            report = open_plain(file, entry.kind, entry.stamp, insist=self.insist)
            return self._stage(file, sift(report), entry, tally)
        except InputError:
            odd = open_odd(file, entry.kind, entry.stamp, insist=self.insist, few=bool(entry.supplements))
            if odd is None:
                raise
        tally.forget()
        return self._stage(file, sift(odd), entry, tally)

    def _sifted(self, file: BinaryIO, entry: ImportEntry) -> Callable[[Report], Report]:
        """Takes learners out of mended rows who stand in the export already; any other report stays as it is."""
        if not entry.supplements:
            return lambda report: report
        mended = read_mended(file, entry.kind, entry.stamp, insist=self.insist)
        with self.store.read() as connection:
            standing = standing_in(connection, entry.supplements, mended.learners)
        return lambda report: report._replace(chunks=mended.sift(report.chunks, standing))

    def _stage(self, file: BinaryIO, report: Report, entry: ImportEntry, tally: Tally) -> Ready:
        before = os.fstat(file.fileno())
        table = staged_grades if entry.kind == GRADES else staged_profiles
        with ExitStack() as stack:
            staging = stack.enter_context(open_staging(self.store, table, ROWS[entry.kind], self.folder))
            for chunk in report.chunks:
                tally.add(chunk)
                staging.add(chunk.rows)
                self.on_rows(len(chunk.rows) + len(chunk.rejected))
            tally.require_few_rejected(mended=bool(entry.supplements))
            staging.seal()
            _require_unchanged(before, os.fstat(file.fileno()))
            loaded = tally.loaded(entry, report.warnings)._replace(resaved=report.resaved)
            if loaded.rejected:
                loaded = loaded._replace(header=header_text(file))
            stack.pop_all()  # from here on whoever holds the result closes it
        return self._staged(staging, loaded, partial(_refused_rows, entry, tally))

    def _staged(self, staging: Staging, entry: ImportEntry, refuse: Callable[[InputError], ImportEntry]) -> Ready:
        term, year = term_and_year(entry.run or "")
        assert self.course is not None  # a report of no configured course was refused by its name
        passing_grade = self.course.passing_grade
        export = Export(staging=staging, entry=entry, passing_grade=passing_grade, term=term, year=year, loss=self.loss)

        def write() -> Outcome:
            try:
                with staging:
                    if entry.supplements:
                        return merge_supplement(staging, entry, passing_grade=passing_grade, term=term, year=year)
                    return merge_export(export)
            except InputError as refusal:
                return log(self.store, refuse(refusal))

        return Ready(write=write, export=export)

    def _read_choices(self, file: BinaryIO, entry: ImportEntry, tally: Tally) -> Ready:
        """The e-mail opt-in list: no export of a run replaces it, the newest choice of each person counts (E49)."""
        from mmcampaign.edx_csv.optin import OptInList  # noqa: PLC0415  few have such a list, and pandas is slow to load
        from mmcampaign.store.consents import merge_choices  # noqa: PLC0415  as above

        before = os.fstat(file.fileno())
        listed = OptInList(file)
        for chunk in listed.chunks():
            tally.add(chunk)
            self.on_rows(len(chunk.rows) + len(chunk.rejected))
        tally.require_few_rejected(mended=bool(parse_name(entry.name, ()).mends))
        _require_unchanged(before, os.fstat(file.fileno()))
        loaded = tally.loaded(entry, ())
        if loaded.rejected:
            loaded = loaded._replace(header=header_text(file))

        def write() -> Outcome:
            rows = ((one.person, one.choice, one.chosen_at) for one in listed.choices())
            with self.store.write() as connection:
                merge_choices(connection, loaded, rows, by_id=listed.by_id)
            return loaded, Changes()

        return Ready(write=write)


def _require_unchanged(before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError("The file changed while it was being read.", todo="Let the download finish first.")


def _refused_rows(entry: ImportEntry, tally: Tally, refusal: InputError) -> ImportEntry:
    """With its rows, where all of them were counted."""
    rows = tally.rows if tally.complete else 0
    entry = entry._replace(rows=rows, rejected=rows, rejected_rows=tally.shown())
    return refused(entry, f"{refusal.what} {refusal.todo}".strip())
