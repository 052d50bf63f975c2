"""The form of config.toml: its sections, keys, defaults and what each value may be (contract 2).

Pydantic lives here and in ``config.py``. Paths are resolved against ``context["root"]``, the folder of the file.
"""

import difflib
import re
from collections.abc import Iterable
from datetime import date
from email.utils import getaddresses
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from mmcampaign.addresses import own_address_problem
from mmcampaign.config_programs import run_of
from mmcampaign.model import ComingRun, Course, Program, Sender
from mmcampaign.send_window import SendWindow, read_window


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest known word, or nothing; stands after a full stop."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _one_line(text: str) -> str:
    if "\r" in text or "\n" in text:
        raise ValueError("must be one line")
    return text.strip()


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name of a folder of zones
        close = did_you_mean(name, available_timezones())
        raise ValueError(f"{name!r} is not a time zone.{close}") from error
    return name


def _https(link: str) -> str:
    if not re.fullmatch(r"https://[^\s/?#@]+([/?#][!-~]*)?", link) or not link.isascii():
        raise ValueError(f"{link!r} is not an https:// address")
    return link


def _base_url(link: str) -> str:
    """An address that paths are added to. Plain http is for this machine only."""
    parts = urlsplit(link)
    if parts.scheme != "http" or parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        _https(link)
    if parts.query or parts.fragment:
        raise ValueError(f"{link!r} must end with its path, without ? or #")
    return link.rstrip("/")


def _send_window(text: str) -> str:
    if text:
        read_window(text)
    return text


def _mailbox(text: str) -> str:
    """One address, with or without a name; ASCII, for not every provider takes others (RFC 6531)."""
    pairs = getaddresses([text])
    if len(pairs) != 1 or not pairs[0][1]:
        raise ValueError(f'{text!r} is not one address; write it like "UQx Updates" <name@example.edu>')
    address = pairs[0][1]
    if problem := own_address_problem(address):
        raise ValueError(f"{address!r} is not a usable address: {problem}")
    if not address.isascii():
        raise ValueError(f"{address!r} has letters outside ASCII")
    return text


def _path(path: Path | str, info: ValidationInfo) -> Path:
    root: Path = (info.context or {}).get("root", Path())
    return root / Path(path).expanduser()


def without_password(url: str) -> str:
    """The URL for people's eyes."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)


def _database_url(url: str, info: ValidationInfo) -> str:
    """Make a relative SQLite path absolute, and PostgreSQL's usual spellings SQLAlchemy's."""
    for scheme in ("postgresql+psycopg://", "postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    path = url.removeprefix("sqlite:///")
    if path in {url, "", ":memory:"}:
        raise ValueError(f"{without_password(url)!r} is not sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")
    return f"sqlite:///{_path(path, info)}"


Text = Annotated[str, AfterValidator(_one_line)]
Filled = Annotated[Text, AfterValidator(_filled)]
Link = Annotated[str, AfterValidator(lambda link: _https(link) if link else "")]
BaseUrl = Annotated[Text, AfterValidator(_base_url)]
# Relative to config.toml; the text becomes a path although the sections are strict.
Folder = Annotated[Path, Field(strict=False), AfterValidator(_path)]
# Codes become names of SQL views and columns, of which PostgreSQL keeps 63 letters.
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Section(BaseModel):
    """A table of config.toml: known keys only, no silent conversions, frozen."""

    # Put off: the whole file is checked at once, so that no table needs a validator of its own.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, defer_build=True)


class Site(Section):
    """Who we are. ``staff``: user names, addresses or ``@domains`` that are never mailed (edX case E43)."""

    name: Filled
    timezone: Annotated[Filled, AfterValidator(_time_zone)]
    staff: Annotated[tuple[Filled, ...], Field(strict=False)] = ()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Database(Section):
    """Where the log lives, as an SQLAlchemy URL. It may hold a password, so it stays out of ``repr``."""

    url: Annotated[str, AfterValidator(_database_url)] = Field(default="sqlite:///mmcampaign.db", repr=False)


class Templates(Section):
    """The folder of email templates."""

    dir: Folder = Path("templates/emails")


class Mail(Section):
    """What every message carries, which backend takes it, and when and how fast.

    ``rate_per_second`` counts messages of all senders together. ``send_window``: in the site's time zone; empty: any
    time. ``claim_batch``: messages in hand at a time, so the most that one killed sender can leave in doubt; two full
    requests to SendGrid are 2,000.
    """

    backend: Literal["file", "smtp", "sendgrid", "ses"] = "file"
    from_: Annotated[Filled, AfterValidator(_mailbox)] = Field(alias="from")
    reply_to: Annotated[Text, AfterValidator(lambda text: _mailbox(text) if text else "")] = ""
    postal_address: Filled
    public_url: BaseUrl
    rate_per_second: float = Field(default=10, gt=0, allow_inf_nan=False)
    send_window: Annotated[Text, AfterValidator(_send_window)] = ""
    claim_batch: int = Field(default=1000, ge=1, le=2000)

    @property
    def window(self) -> SendWindow | None:
        return read_window(self.send_window) if self.send_window else None

    @property
    def sender(self) -> Sender:
        name, email = getaddresses([self.from_])[0]
        return Sender(name=name, email=email, reply_to=self.reply_to)


class FileDelivery(Section):
    """The ``file`` backend's folder."""

    dir: Folder = Path("outbox")


class SmtpDelivery(Section):
    """The SMTP server; its password is the secret ``smtp_password``.

    ``batch`` is for each connection: what a crash leaves in doubt is at most ``connections`` times ``batch`` messages,
    and never more than one second's worth of ``rate_per_second``.
    """

    host: Filled = "localhost"
    port: int = Field(default=25, ge=1, le=65535)
    security: Literal["none", "starttls", "tls"] = "none"
    username: Text = ""
    connections: int = Field(default=4, ge=1, le=100)
    batch: int = Field(default=100, ge=1, le=100)


class SendGridDelivery(Section):
    """SendGrid's Web API. ``batch_size`` is people per request; the API takes at most 1,000."""

    host: BaseUrl = "https://api.sendgrid.com"
    batch_size: int = Field(default=500, ge=1, le=1000)
    sandbox: bool = False


class SesDelivery(Section):
    """Amazon SES; an empty ``endpoint_url`` means AWS's own for the region. ``batch`` as for SMTP."""

    region: Filled = "us-west-2"
    endpoint_url: Annotated[Text, AfterValidator(lambda link: _base_url(link) if link else "")] = ""
    configuration_set: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,64}$")
    connections: int = Field(default=4, ge=1, le=100)
    batch: int = Field(default=10, ge=1, le=100)


# A section left out is checked like an empty one, so that its default paths start from the file too.
_ABSENT: Any = Field(default={})


class Delivery(Section):
    """One section for each backend."""

    file: FileDelivery = _ABSENT
    smtp: SmtpDelivery = _ABSENT
    sendgrid: SendGridDelivery = _ABSENT
    ses: SesDelivery = _ABSENT


class Policy(Section):
    """The rules an institution sets for itself. ``cooldown_days`` 0 means none; ``holdout_percent`` of each cohort."""

    cooldown_days: int = Field(default=14, ge=0, le=3650)
    consent: Literal["required", "not-refused", "off"] = "not-refused"
    approval: Literal["self", "second-person"] = "self"
    holdout_percent: float = Field(default=0, ge=0, le=100)


class Ingest(Section):
    """How careful ``ingest`` is: a newer export that lacks more of a run's learners is held back until confirmed."""

    largest_loss_percent: float = Field(default=20, ge=0, le=100)


class Worker(Section):
    """``mmcampaign worker``: a worker that gave no sign of life for ``takeover_seconds`` is dead to the others."""

    takeover_seconds: float = Field(default=30, ge=1, le=3600)


class ComingRunTable(Section):
    """``coming_run`` of a course."""

    run: Filled
    link: Link = ""
    title: Text = ""
    enrollment_closes: date | None = None


class CourseTable(Section):
    """One ``[[programs.CODE.courses]]``; the rules across keys are in ``config_programs.py``."""

    code: Code
    prefix: str = Field(pattern=r"^[\w.-]+$")
    title: Text = ""
    link: Link = ""
    passing_grade: float = Field(gt=0, le=1)
    series: bool = True
    runs: Annotated[tuple[Filled, ...], Field(strict=False)] = ()
    current_run: Text = ""
    coming_run: ComingRunTable | None = None
    upgrade_deadline: date | None = None

    def value(self) -> Course:
        """The course with its runs bare: ``1T2019``."""
        coming = self.coming_run and ComingRun(
            **{**dict(self.coming_run), "run": run_of(self.prefix, self.coming_run.run)}
        )
        plain: dict[str, Any] = {
            **dict(self),
            "runs": tuple(run_of(self.prefix, run) for run in self.runs),
            "current_run": run_of(self.prefix, self.current_run),
            "coming_run": coming,
        }
        return Course(**plain)


class ProgramTable(Section):
    """One ``[programs.CODE]``. ``subject`` serves templates in the predecessor's form only."""

    title: Filled
    template: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    subject: Text = ""
    courses: Annotated[tuple[CourseTable, ...], Field(strict=False)]

    def value(self, code: str) -> Program:
        courses = tuple(course.value() for course in self.courses)
        return Program(code=code, title=self.title, template=self.template, subject=self.subject, courses=courses)


class ConfigFile(Section):
    """config.toml as a whole."""

    site: Site
    database: Database = _ABSENT
    templates: Templates = _ABSENT
    mail: Mail
    delivery: Delivery = _ABSENT
    policy: Policy = _ABSENT
    ingest: Ingest = _ABSENT
    worker: Worker = _ABSENT
    programs: dict[Code, ProgramTable]
