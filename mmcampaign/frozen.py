"""What a campaign freezes when it is planned, and how to tell that it has changed since. Values only.

The frozen settings are a JSON document; its leaves have dotted names, which is how a change is reported.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from mmcampaign.model import Program, Sender


def frozen_settings(
    *,
    program: Program,
    sender: Sender,
    site: Mapping[str, Any],
    mail: Mapping[str, Any],
    policy: Mapping[str, Any],
    templates: Mapping[str, str],
    selection: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything but the recipients that decides what goes out. ``templates``: path -> SHA-256 of the file."""
    return {
        "program": _plain(program),
        "mail": {"from_name": sender.name, "from": sender.email, "reply_to": sender.reply_to, **mail},
        "site": dict(site),
        "policy": dict(policy),
        "templates": dict(templates),
        "selection": dict(selection),
    }


def _plain(program: Program) -> dict[str, Any]:
    courses = (
        {**course._asdict(), "coming_run": course.coming_run and course.coming_run._asdict()}
        for course in program.courses
    )
    return {**asdict(program), "courses": list(courses)}


def to_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, ensure_ascii=False, sort_keys=True, default=str)


def sender_of(settings: Mapping[str, Any]) -> Sender:
    """Who the frozen campaign is sent by."""
    mail = settings["mail"]
    return Sender(name=mail["from_name"], email=mail["from"], reply_to=mail["reply_to"])


def fingerprint(settings_json: str, recipients_digest: str) -> str:
    """One SHA-256 over the frozen settings and the recipients: what was approved."""
    return hashlib.sha256(f"{settings_json}\n{recipients_digest}".encode()).hexdigest()


class RecipientsDigest:
    """A running SHA-256 over recipients in the order of their student ids."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, fields: Iterable[object]) -> None:
        self._hash.update(json.dumps(list(fields), ensure_ascii=False).encode() + b"\n")

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One sentence for each setting or template that differs, by its dotted name."""
    old, new = dict(_leaves(before)), dict(_leaves(json.loads(to_json(now))))
    found = []
    for key in sorted(old.keys() | new.keys()):
        was, is_now = _shown(old.get(key)), _shown(new.get(key))
        if was == is_now:
            continue
        if key.startswith("templates."):
            found.append(f"template {key.removeprefix('templates.')} was edited")
        else:
            found.append(f"{key}: was {was}, now {is_now}")
    return found


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{index}]")
    else:
        yield name, value


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "") else json.dumps(value, ensure_ascii=False)
