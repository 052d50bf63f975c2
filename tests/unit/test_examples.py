"""Which learners of a shape are looked at."""

import pytest

from mmcampaign.examples import Examples, is_not_latin, is_right_to_left

FACTS = {"Certificates": "1 of 4"}


def looked_at(*names: str, cohorts: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    examples: Examples[str] = Examples()
    for place, name in enumerate(names):
        cohort = cohorts[place] if cohorts else "continue"
        examples.add(f"{place} {name}", name=name, cohort=cohort, facts=FACTS)
    assert examples.learners == len(names)
    return dict(examples.chosen())


def test_ordinary_learners_are_the_first_and_the_one_with_the_longest_name() -> None:
    assert looked_at("Bo Ek", "Ann Lee", "Li Wu") == {
        "0 Bo Ek": ("the first of them",),
        "1 Ann Lee": ("the longest name",),
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("", "no name", id="no name"),
        pytest.param("x@y.example", "a name that gives no safe greeting", id="an address for a name"),
        pytest.param("Анна Ли", "not in Latin letters", id="Cyrillic"),
        pytest.param("فرح", "written from right to left", id="Arabic"),
    ],
)
def test_who_is_out_of_the_ordinary_is_looked_at(name: str, why: str) -> None:
    assert why in looked_at("Annabella Long and Ordinary", name, name)[f"1 {name}"]


def test_a_learner_stands_once_with_every_reason() -> None:
    assert looked_at("עדה לאבלייס") == {
        "0 עדה לאבלייס": (
            "the first of them",
            "not in Latin letters",
            "written from right to left",
            "the longest name",
        )
    }


def test_each_cohort_of_a_mixed_shape_is_looked_at() -> None:
    found = looked_at("Ann Lee", "Bo Ek", "Cy Fu", cohorts=("continue", "audit-upgrade", "continue"))
    assert found == {
        "0 Ann Lee": ("the first of them", "cohort continue", "the longest name"),
        "1 Bo Ek": ("cohort audit-upgrade",),
    }


def test_facts_are_told_as_far_as_they_differ() -> None:
    examples: Examples[int] = Examples()
    for number in range(6):
        facts = {"same": "yes", "two": str(number % 2), "many": str(number)}
        examples.add(number, name="Ann", cohort="continue", facts=facts)
    assert examples.facts() == [("same", "yes"), ("two", "0 (3); 1 (3)"), ("many", "6 different ones")]


@pytest.mark.parametrize(
    ("name", "foreign", "from_the_right"),
    [
        pytest.param("Zoë Ångström-Łuk O'Neil", False, False, id="accents are Latin"),
        pytest.param("Ann 2", False, False, id="digits are no letters"),
        pytest.param("Ann ميسر", True, True, id="mixed"),
        pytest.param("李雷", True, False, id="Chinese"),
    ],
)
def test_scripts(name: str, foreign: bool, from_the_right: bool) -> None:
    assert (is_not_latin(name), is_right_to_left(name)) == (foreign, from_the_right)
