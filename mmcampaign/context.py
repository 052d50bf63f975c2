"""The values a template sees (contract 5), made from a decision: what many recipients share, and what is one's own.

Shared values are JSON-able, so that a campaign can freeze them; days are ISO dates.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from mmcampaign.cohorts import Decision
from mmcampaign.model import Cohort, Course, Learner, Program
from mmcampaign.shapes import DERIVED_MARK, clean

_OWN = {
    "learner.name": "name",
    "learner.first_name": "first_name",
    "learner.email": "email",
    "learner.username": "username",
    "learner.country": "country",
    "item.email": "email",
    "item.student_name": "name",
    "item.student_id": "student_id",
}
_LINKS = ("unsubscribe_url", "item.unsubscribe_link")
_LONGEST_FIRST_NAME = 30
_NOT_A_NAME = re.compile(r"[@/\\<>{}|=\[\]]|www\.|\.(com|net|org|ru|info)\b|\d{3}", re.IGNORECASE)
_TITLES = frozenset({"dr", "mr", "mrs", "ms", "mx", "miss", "prof", "professor", "sir", "eng", "ing", "hon", "rev"})
_FAMILY_NAME_FIRST = re.compile(r"[^\s,]+\s*,\s*\w")  # "Pine, Ana", or "Ana, PhD": who knows
_JOINERS = "\u200c\u200d"  # stand inside Persian and Indic names
_EDGE = " \t.,;:!?\"'`´‘’“”()*~^_-+="
_BIDI = dict.fromkeys([0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


@dataclass(frozen=True, kw_only=True)
class MergeContext:
    """The merge values that many recipients share, and the SHA-256 of their JSON form."""

    digest: str
    values: Mapping[str, Any]
    json: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "MergeContext":
        text = json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return cls(digest=hashlib.sha256(text.encode()).hexdigest(), values=values, json=text)


def shared_values(
    program: Program,
    decision: Decision,
    done: frozenset[str],
    *,
    site: Mapping[str, str],
    campaign: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything but the person: program, cohort, trigger, next course, certificates, site, campaign.

    ``done`` are the codes of courses with a certificate; ``site`` has name and postal_address; ``campaign`` id, name.
    """
    total = len(program.series)
    following = decision.next_course
    return {
        "program": {
            "code": program.code,
            "title": program.title,
            "courses": [_course(course, decision, done) for course in program.courses],
        },
        "cohort": decision.cohort.value,
        "trigger": {
            **_named(decision.trigger),
            "link": decision.trigger.link,
            "run": decision.trigger.current_run,
            "upgrade_deadline": _iso(decision.trigger.upgrade_deadline),
        },
        "next": None if following is None else _next(following),
        "certificates": {
            "earned": decision.certificates_earned,
            "total": total,
            "remaining": total - decision.certificates_earned,
        },
        "other_triggers": [_named(program.course(code)) for code in decision.other_triggers],
        "site": dict(site),
        "campaign": dict(campaign),
        "item": _predecessor(decision, following),
    }


def _predecessor(decision: Decision, following: Course | None) -> dict[str, Any]:
    """The shared part of ``item.*``, as templates of the earlier tool know it."""
    return {
        "no_certificate_eligible": decision.certificates_earned,
        "trigger_course_verified": int(decision.cohort is Cohort.CONTINUE),
        "trigger_course_title": decision.trigger.title,
        "trigger_course_link": decision.trigger.link,
        "next_course_title": following.title if following else "",
        "next_course_link": following.invitation_link if following else "",
    }


def _course(course: Course, decision: Decision, done: frozenset[str]) -> dict[str, Any]:
    return {
        **_named(course),
        "link": course.link,
        "series": course.series,
        "done": course.code in done,
        "is_trigger": course == decision.trigger,
        "is_next": course == decision.next_course,
    }


def _named(course: Course) -> dict[str, str]:
    return {"code": course.code, "title": course.title}


def _next(course: Course) -> dict[str, Any]:
    coming = course.coming_run
    return {
        "code": course.code,
        "title": (coming.title if coming else "") or course.title,
        "link": course.invitation_link,
        "enrollment_closes": _iso(coming.enrollment_closes if coming else None),
    }


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


def personal_values(learner: Learner) -> dict[str, str]:
    """A person's own values, as a campaign freezes them."""
    return {
        "name": clean(one_line(learner.name)),
        "first_name": clean(first_name(learner.name)),
        "email": clean(learner.email),
        "username": clean(learner.username),
        "country": clean(learner.country),
        "student_id": str(learner.student_id),
    }


def token_values(personal: Mapping[str, str], unsubscribe_url: str) -> dict[str, str]:
    """A person's own values under the names that templates use for them, the predecessor's included.

    Values that a campaign has derived from them (``shapes.py``) keep their names.
    """
    return {
        **{name: value for name, value in personal.items() if DERIVED_MARK in name},
        **{field: personal[name] for field, name in _OWN.items()},
        **dict.fromkeys(_LINKS, unsubscribe_url),
    }


def own_name(field: str) -> str | None:
    """The name under which a person's frozen values have a field of ``token_values``; None for the unsubscribe link."""
    return None if field in _LINKS else _OWN.get(field, field)


def own_values(personal: Mapping[str, str]) -> dict[str, str]:
    """A frozen person's values without those that a template derived from them."""
    return {name: value for name, value in personal.items() if DERIVED_MARK not in name}


def one_line(name: str) -> str:
    """A name without line breaks and other control characters (edX case E20), direction overrides taken out."""
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in name.translate(_BIDI)).split())


def first_name(name: str) -> str:
    """How to greet somebody, or nothing where the name gives no safe greeting (a neutral one is used then).

    The first word, without titles and stray signs; a name in a script that puts the family name first and uses no
    Latin letters is used whole. What looks like an address, a link or a number is no name.
    """
    whole = one_line(name)
    if _FAMILY_NAME_FIRST.match(whole) or _NOT_A_NAME.search(whole.lstrip(_EDGE)):
        return ""
    words = [word.strip(_EDGE) for word in whole.replace(",", " ").split()]
    words = [word for word in words if word and word.casefold() not in _TITLES]
    if not words or not all(map(_is_name_sign, words[0])):
        return ""
    family_first = any(
        "\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7a3" for c in whole
    )
    greeting = whole.strip(_EDGE) if family_first else words[0]
    initial_only = len(greeting) == 1 and greeting.isascii()
    return "" if initial_only or len(greeting) > _LONGEST_FIRST_NAME else greeting


def _is_name_sign(sign: str) -> bool:
    """Letters and their marks of any script, and what stands inside names: O'Brien, Jean-Luc, J.P."""
    return unicodedata.category(sign)[0] in "LM" or sign in "'’ʻʼ`´.-‐·" + _JOINERS
