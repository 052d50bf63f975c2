"""The settings of an installation: config.toml and the environment, read once into frozen values.

Nothing below ``app.py`` reads the environment. Every problem is reported at once, each with its key (contract 2).
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date
from email.utils import getaddresses
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from mmcampaign.config_programs import program_problems, run_of
from mmcampaign.errors import ConfigError
from mmcampaign.model import ComingRun, Course, Program, Sender

CONFIG_NAME = "config.toml"
CONFIG_VARIABLE = "MMCAMPAIGN_CONFIG"
_PREFIX = "MMCAMPAIGN_"
_SECRET_VARIABLES = {
    "sendgrid_api_key": "SENDGRID_API_KEY",
    "smtp_password": "MMCAMPAIGN_SMTP_PASSWORD",
    "secret_key": "MMCAMPAIGN_SECRET_KEY",
}


# --- what a single value may be --------------------------------------------------------------------------------


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _one_line(text: str) -> str:
    if any(character in text for character in "\r\n"):
        raise ValueError("must be one line")
    return text.strip()


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not a time zone{_did_you_mean(name, available_timezones())}")
    return name


def _web_address(link: str) -> str:
    parts = urlsplit(link)
    if parts.scheme != "https" or not parts.hostname or not re.fullmatch(r"[!-~]+", link):
        raise ValueError(f"{link!r} is not an https:// address")
    return link


def _public_url(link: str) -> str:
    parts = urlsplit(link)
    local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if not local:
        _web_address(link)
    if parts.query or parts.fragment:
        raise ValueError(f"{link!r} must end with its path, without ? or #")
    return link.rstrip("/")


def _service_url(link: str) -> str:
    return _public_url(link) if link else ""


def _mailbox(text: str) -> str:
    """One address, with or without a name. ASCII only: not every provider takes others (RFC 6531)."""
    pairs = getaddresses([_one_line(text)])
    if len(pairs) != 1 or not pairs[0][1]:
        raise ValueError(f'{text!r} is not one address; write it like "UQx Updates" <name@example.edu>')
    try:
        validate_email(pairs[0][1], allow_smtputf8=False, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(f"{pairs[0][1]!r} is not a usable address: {error}") from error
    if not pairs[0][1].isascii():
        raise ValueError(f"{pairs[0][1]!r} has letters outside ASCII")
    return text


def _optional_mailbox(text: str) -> str:
    return _mailbox(text) if text else ""


def _path(text: str, info: ValidationInfo) -> Path:
    root: Path = (info.context or {}).get("root", Path())
    return root / Path(_filled(text)).expanduser()


def _database_url(url: str, info: ValidationInfo) -> str:
    """Make a relative SQLite path absolute; SQLAlchemy's own spelling has three slashes before the path."""
    for scheme in ("postgresql+psycopg://", "postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    path = url.removeprefix("sqlite:///")
    if path == url or path in {"", ":memory:"}:
        raise ValueError(f"{_masked(url)!r} is not sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")
    return f"sqlite:///{_path(path, info)}"


def _masked(url: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


Text = Annotated[str, AfterValidator(_one_line)]
Filled = Annotated[Text, AfterValidator(_filled)]
Link = Annotated[str, AfterValidator(_web_address)]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


# --- the sections ----------------------------------------------------------------------------------------------


class Section(BaseModel):
    """A table of config.toml: known keys only, no silent conversions, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, hide_input_in_errors=True)


class Site(Section):
    """Who we are. ``staff``: user names, addresses or ``@domains`` that are never mailed (edX case E43)."""

    name: Filled
    timezone: Annotated[Filled, AfterValidator(_time_zone)]
    staff: Annotated[tuple[Filled, ...], Field(strict=False)] = ()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Database(Section):
    """Where the log lives: an SQLAlchemy URL. It may hold a password, so it stays out of ``repr``."""

    url: Annotated[str, AfterValidator(_database_url)] = Field(default="sqlite:///mmcampaign.db", repr=False)


class Templates(Section):
    """The folder of email templates."""

    dir: Annotated[Path, Field(strict=False), AfterValidator(lambda path, info: _path(str(path), info))] = Path(
        "templates/emails"
    )


class Mail(Section):
    """What every message carries, and which backend takes it. ``rate_per_second`` counts messages."""

    backend: Literal["file", "smtp", "sendgrid", "ses"] = "file"
    from_: Annotated[Filled, AfterValidator(_mailbox)] = Field(alias="from")
    reply_to: Annotated[Text, AfterValidator(_optional_mailbox)] = ""
    postal_address: Filled
    public_url: Annotated[str, AfterValidator(_public_url)]
    rate_per_second: float = Field(default=10, gt=0, allow_inf_nan=False)

    @property
    def sender(self) -> Sender:
        name, email = getaddresses([self.from_])[0]
        return Sender(name=name, email=email, reply_to=self.reply_to)


class FileDelivery(Section):
    """The ``file`` backend's folder."""

    dir: Annotated[Path, Field(strict=False), AfterValidator(lambda path, info: _path(str(path), info))] = Path(
        "outbox"
    )


class SmtpDelivery(Section):
    """The SMTP server; its password is the secret ``smtp_password``."""

    host: Filled = "localhost"
    port: int = Field(default=25, ge=1, le=65535)
    security: Literal["none", "starttls", "tls"] = "none"
    username: Text = ""
    connections: int = Field(default=4, ge=1, le=100)


class SendGridDelivery(Section):
    """SendGrid's Web API. ``batch_size`` is people per request; the API takes at most 1,000."""

    host: Annotated[str, AfterValidator(_public_url)] = "https://api.sendgrid.com"
    batch_size: int = Field(default=500, ge=1, le=1000)
    sandbox: bool = False


class SesDelivery(Section):
    """Amazon SES; an empty ``endpoint_url`` means AWS's own for the region."""

    region: Filled = "us-west-2"
    endpoint_url: Annotated[str, AfterValidator(_service_url)] = ""


class Delivery(Section):
    """One section for each backend."""

    file: FileDelivery = FileDelivery()
    smtp: SmtpDelivery = SmtpDelivery()
    sendgrid: SendGridDelivery = SendGridDelivery()
    ses: SesDelivery = SesDelivery()


class Policy(Section):
    """The rules an institution sets for itself. ``cooldown_days`` may be 0: no cool-down."""

    cooldown_days: int = Field(default=14, ge=0, le=3650)
    consent: Literal["required", "not-refused", "off"] = "not-refused"
    approval: Literal["self", "second-person"] = "self"
    holdout_percent: float = Field(default=0, ge=0, le=100)


class _ComingRun(Section):
    run: Filled
    link: Link | Literal[""] = ""
    title: Text = ""
    enrollment_closes: date | None = None


class _Course(Section):
    code: Code
    prefix: str = Field(pattern=r"^[\w.-]+$")
    title: Text = ""
    link: Link | Literal[""] = ""
    passing_grade: float = Field(gt=0, le=1)
    series: bool = True
    runs: Annotated[tuple[Filled, ...], Field(strict=False)] = ()
    current_run: Text = ""
    coming_run: _ComingRun | None = None
    upgrade_deadline: date | None = None

    def value(self) -> Course:
        plain = {name: getattr(self, name) for name in type(self).model_fields}
        coming = self.coming_run
        plain["runs"] = tuple(run_of(self.prefix, run) for run in self.runs)
        plain["current_run"] = run_of(self.prefix, self.current_run)
        plain["coming_run"] = (
            ComingRun(
                run=run_of(self.prefix, coming.run),
                link=coming.link,
                title=coming.title,
                enrollment_closes=coming.enrollment_closes,
            )
            if coming
            else None
        )
        return Course(**plain)


class _Program(Section):
    title: Filled
    template: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    subject: Text = ""
    courses: Annotated[tuple[_Course, ...], Field(strict=False, min_length=1)]

    def value(self, code: str) -> Program:
        courses = tuple(course.value() for course in self.courses)
        return Program(code=code, title=self.title, template=self.template, subject=self.subject, courses=courses)


class _File(Section):
    """config.toml as a whole."""

    site: Site
    database: Database = Database()
    templates: Templates = Templates()
    mail: Mail
    delivery: Delivery = Delivery()
    policy: Policy = Policy()
    programs: dict[Code, _Program] = Field(min_length=1)
