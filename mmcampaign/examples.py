"""Which learners of a shape are worth a look: the first, and those whose name or cohort is out of the ordinary."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mmcampaign.context import first_name

T = TypeVar("T")
FIRST, LONGEST = "the first of them", "the longest name"
FACTS_KEPT = 4  # different values of one fact; more are told as a number


@dataclass(kw_only=True)
class Examples(Generic[T]):
    """The learners of one shape as they come: how many, the remarkable ones, and the facts they share or differ in."""

    learners: int = 0
    _kept: dict[str, T] = field(default_factory=dict)
    _longest: str = ""
    _facts: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, item: T, *, name: str, cohort: str, facts: Mapping[str, str]) -> None:
        """Count a learner; ``item`` is kept if it is the first one of its kind, or has the longest name so far."""
        self.learners += 1
        for kind in self._kinds(name, cohort):
            self._kept.setdefault(kind, item)
        if len(name) > len(self._longest):
            self._longest, self._kept[LONGEST] = name, item
        for what, value in facts.items():
            values = self._facts.setdefault(what, {})
            values[value] = values.get(value, 0) + 1

    def _kinds(self, name: str, cohort: str) -> list[str]:
        kinds = [FIRST, f"cohort {cohort}"]
        if not name:
            kinds.append("no name")
        elif not first_name(name):
            kinds.append("a name that gives no safe greeting")
        if not name.isascii():
            kinds += ["not in Latin letters"] * is_not_latin(name)
            kinds += ["written from right to left"] * is_right_to_left(name)
        return kinds

    def chosen(self) -> list[tuple[T, tuple[str, ...]]]:
        """Each learner kept, once, with every reason to look; the first one first. A shape of one cohort does not
        tell its cohort."""
        cohorts = [kind for kind in self._kept if kind.startswith("cohort ")]
        reasons: dict[int, tuple[T, tuple[str, ...]]] = {}
        for kind, item in self._kept.items():
            if kind in cohorts and len(cohorts) == 1:
                continue
            _, before = reasons.get(id(item), (item, ()))
            reasons[id(item)] = item, (*before, kind)
        return list(reasons.values())

    def facts(self) -> list[tuple[str, str]]:
        """Each fact with the value that all have, or the few values there are, each with its number of learners."""
        return [(what, _told(values)) for what, values in self._facts.items()]


def _told(values: Mapping[str, int]) -> str:
    if len(values) == 1:
        return next(iter(values))
    if len(values) > FACTS_KEPT:
        return f"{len(values):,} different ones"
    return "; ".join(f"{value} ({learners:,})" for value, learners in values.items())


def is_not_latin(name: str) -> bool:
    """Whether a letter of the name is of another script."""
    return any(sign.isalpha() and not unicodedata.name(sign, "").startswith("LATIN") for sign in name)


def is_right_to_left(name: str) -> bool:
    """Whether a sign of the name runs from right to left (Unicode's bidirectional classes R and AL)."""
    return any(unicodedata.bidirectional(sign) in ("R", "AL") for sign in name)
