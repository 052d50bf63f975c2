"""What SendGrid refuses: its own OpenAPI schema, corrected in memory, and the rules its documentation adds."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

SPEC = Path(__file__).parents[1] / "data" / "sendgrid" / "tsg_mail_v3.json"
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
# OpenAPI: not to be overridden by the sender.
RESERVED = {
    *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
    *("to", "from", "subject", "reply-to", "cc", "bcc"),
}


@cache
def validator() -> Draft202012Validator:
    """The schema of the body of POST /v3/mail/send, with what the document gets wrong or leaves out put right."""
    spec = json.loads(SPEC.read_text("utf-8"))
    schema = spec["components"]["requestBodies"]["PostMailSend"]["content"]["application/json"]["schema"]
    properties = schema["properties"]
    person = properties["personalizations"]["items"]
    properties["custom_args"] = properties["headers"] = STRINGS
    person["properties"]["custom_args"] = person["properties"]["headers"] = STRINGS
    person["properties"]["to"] |= {"minItems": 1, "maxItems": 1000}
    properties["personalizations"]["minItems"] = 1
    properties["content"]["minItems"] = 1
    schema["additionalProperties"] = person["additionalProperties"] = False
    schema["required"] = ["personalizations", "from", "content"]
    for name in ("MailFrom", "MailTo"):
        spec["components"]["schemas"][name]["additionalProperties"] = False
    reference = {"$ref": "#/components/requestBodies/PostMailSend/content/application~1json/schema"}
    return Draft202012Validator(reference | {"components": spec["components"]}, format_checker=FormatChecker())


def violations(body: Any) -> list[dict[str, Any]]:
    """SendGrid's ``errors`` for a request; empty when it is good."""
    faults = [
        _error(".".join(str(part) for part in fault.absolute_path), fault.message[:300])
        for fault in validator().iter_errors(body)
    ]
    return faults or [*_people(body), *_content(body)]


def _error(field: str, message: str) -> dict[str, Any]:
    return {"message": message, "field": field or None, "help": None}


def _people(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    faults = []
    addresses = [to["email"].casefold() for person in body["personalizations"] for to in person["to"]]
    if len(addresses) > 1_000:
        faults.append(_error("personalizations", "The total number of recipients must be no more than 1000."))
    if len(set(addresses)) < len(addresses):
        faults.append(_error("personalizations", "Each email address should be unique in the request."))
    for place, person in enumerate(body["personalizations"]):
        faults += [_error(f"personalizations.{place}.{field}", message) for field, message in _person(person, body)]
    return faults


def _person(person: Mapping[str, Any], body: Mapping[str, Any]) -> list[tuple[str, str]]:
    faults = []
    if not person.get("subject") and not body.get("subject"):
        faults.append(("subject", "The subject is required."))
    if any(set(to.get("name", "")) & set(",;") for to in person["to"]):
        faults.append(("to.0.name", "A name may hold neither comma nor semicolon."))
    if RESERVED & {name.lower() for name in person.get("headers", {})}:
        faults.append(("headers", "A reserved header cannot be set."))
    if any(set(value) & set("\r\n") for value in person.get("headers", {}).values()):
        faults.append(("headers", "A header value is one line."))
    for field in ("substitutions", "custom_args"):
        entries = person.get(field, {})
        if sum(len(key.encode()) + len(value.encode()) for key, value in entries.items()) > 10_000:
            faults.append((field, f"The {field} are more than 10000 bytes."))
        if any(set(key) & set(" <&") for key in entries):
            faults.append((field, "A key may hold no space, < or &."))
    return faults


def _content(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    kinds = [part["type"] for part in body["content"]]
    ordered = sorted(kinds, key=["text/plain", "text/html"].index) if set(kinds) <= {"text/plain", "text/html"} else []
    return [] if kinds == ordered else [_error("content", "The content must be text/plain, then text/html.")]
