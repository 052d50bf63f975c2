"""The settings of an installation: config.toml and the environment, read once into frozen values.

Nothing below ``app.py`` reads the environment. All problems are reported at once, each with its key (contract 2).
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mmcampaign.config_programs import program_problems
from mmcampaign.config_schema import (
    ConfigFile,
    Database,
    Delivery,
    Ingest,
    Mail,
    Policy,
    Site,
    Templates,
    Worker,
    did_you_mean,
    without_password,
)
from mmcampaign.errors import ConfigError
from mmcampaign.model import Program

CONFIG_NAME = "config.toml"
CONFIG_VARIABLE = "MMCAMPAIGN_CONFIG"
_PREFIX = "MMCAMPAIGN_"


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """What only the environment may say; empty when it says nothing. ``repr`` shows whether, never what."""

    sendgrid_api_key: str = ""
    smtp_password: str = ""
    secret_key: str = ""

    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={'***' if getattr(self, field.name) else ''!r}" for field in fields(self))
        return f"Secrets({shown})"


class Settings(NamedTuple):
    """Everything config.toml and the environment say. ``root`` is the folder that relative paths start from."""

    path: Path
    root: Path
    site: Site
    database: Database
    templates: Templates
    mail: Mail
    delivery: Delivery
    policy: Policy
    ingest: Ingest
    worker: Worker
    programs: Mapping[str, Program]
    secrets: Secrets


def find_config(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """``explicit``, else $MMCAMPAIGN_CONFIG, else the nearest config.toml from ``cwd`` upwards.

    Raises ConfigError that says where it looked.
    """
    named = environ.get(CONFIG_VARIABLE, "")
    if explicit or named:
        path = cwd / (explicit or Path(named)).expanduser()
        if not path.is_file():
            source = "--config" if explicit else f"${CONFIG_VARIABLE}"
            raise ConfigError(f"There is no file {path}, which {source} names.", todo=f"correct {source}")
        return path
    for folder in (cwd, *cwd.parents):
        if (folder / CONFIG_NAME).is_file():
            return folder / CONFIG_NAME
    raise ConfigError(
        f"There is no {CONFIG_NAME} in {cwd} or in a folder above it.",
        todo=f"go to the folder that has one, or name it: mmcampaign --config PATH, or ${CONFIG_VARIABLE}",
    )


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read and check ``path``; values named by the environment come before those of the file.

    Raises ConfigError with one line in ``problems`` for each thing that is wrong.
    """
    path = path.absolute()
    tables = _read(path)
    sources: dict[str, str] = {}
    problems = list(_override(tables, environ, sources))
    try:
        file = ConfigFile.model_validate(tables, context={"root": path.parent})
    except ValidationError as error:
        problems += [_problem(details, tables, sources) for details in error.errors()]
    problems += program_problems(tables.get("programs"))
    if problems:
        count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
        raise ConfigError(
            f"{path} has {count}.",
            problems=tuple(_with_course_code(line, tables) for line in dict.fromkeys(problems)),
            unchanged="Nothing was read or changed.",
            todo=f"correct {path}, then run mmcampaign doctor",
        )
    return Settings(
        path=path,
        root=path.parent,
        site=file.site,
        database=file.database,
        templates=file.templates,
        mail=file.mail,
        delivery=file.delivery,
        policy=file.policy,
        ingest=file.ingest,
        worker=file.worker,
        programs=MappingProxyType({code: table.value(code) for code, table in file.programs.items()}),
        secrets=Secrets(
            sendgrid_api_key=environ.get("SENDGRID_API_KEY", "").strip(),
            smtp_password=environ.get("MMCAMPAIGN_SMTP_PASSWORD", ""),
            secret_key=environ.get("MMCAMPAIGN_SECRET_KEY", "").strip(),
        ),
    )


# --- reading the file ------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", todo="check the path and its rights") from error
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path} is not UTF-8 text (line {line}).", todo="save it again with the encoding UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", todo=f"correct {path} at that place") from error


# --- the environment -------------------------------------------------------------------------------------------


def _single_values(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Key and type of every value that the environment may set: all but lists and programs."""
    for name, field in section.model_fields.items():
        key = (*path, field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _single_values(field.annotation, key)
        elif get_origin(field.annotation) not in {tuple, dict}:
            yield key, field.annotation


def _override(tables: dict[str, Any], environ: Mapping[str, str], sources: dict[str, str]) -> Iterator[str]:
    """Put values of the environment into ``tables``; ``sources`` learns which variable gave which key."""
    known = {_PREFIX + "__".join(key).upper(): (key, kind) for key, kind in _single_values(ConfigFile)}
    squeezed = {variable.replace("_", ""): variable for variable in known}
    for variable in sorted(name for name in environ if name.startswith(_PREFIX)):
        if variable in known:
            key, kind = known[variable]
            if _put(tables, key, _typed(environ[variable], kind)):
                sources[".".join(key)] = variable
        elif "__" in variable:
            yield f"{variable}: no single value has this name.{did_you_mean(variable, known)}"
        elif variable.replace("_", "") in squeezed:  # one underscore for two would go unnoticed
            yield f"{variable}: is not read. Did you mean {squeezed[variable.replace('_', '')]!r}?"


def _put(tables: dict[str, Any], key: tuple[str, ...], value: object) -> bool:
    for name in key[:-1]:
        table = tables.setdefault(name, {})
        if not isinstance(table, dict):  # reported by the schema
            return False
        tables = table
    tables[key[-1]] = value
    return True


def _typed(text: str, kind: Any) -> object:
    """The environment knows text only; what does not convert is left for the schema to report."""
    if kind not in {int, float, bool}:
        return text
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError:
        return text


# --- problems in words -----------------------------------------------------------------------------------------

# pydantic's error types; {x} are its context values, after the value seen
_WANTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "date_type": "a date without quotes, such as 2027-02-01",
    "tuple_type": "a list in [ ]",
    "dict_type": "a table",
    "model_type": "a table",
    "literal_error": "{expected}",
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than_equal": "a number of at most {le:g}",
    "finite_number": "a number",
}
_WANTED_BY_KEY = {
    "passing_grade": "a fraction above 0 and at most 1 (65 % is 0.65)",
    "code": "small letters, digits and _, beginning with a letter, at most 40",
    "programs": "a code of small letters, digits and _, beginning with a letter, at most 40",
    "prefix": "what the edX file names begin with, such as 'UQx_ENGY1x'",
    "template": "the name of a folder of templates",
}


def _problem(details: ErrorDetails, tables: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """One pydantic error as ``key: what is wrong, and what is wanted``."""
    location = tuple(part for part in details["loc"] if part != "[key]")
    key = re.sub(r"\.(?=\[)", "", ".".join(f"[{part}]" if isinstance(part, int) else part for part in location))
    kind, context = details["type"], details.get("ctx", {})
    name = sources.get(key, key)
    if kind == "missing":
        return f"{name}: is missing"
    if kind == "extra_forbidden":
        return f"{name}: is not a known key.{did_you_mean(str(location[-1]), _keys_at(location[:-1]))}"
    if kind == "value_error":
        return f"{name}: {context['error']}"
    last = "programs" if len(location) == 2 and location[0] == "programs" else str(location[-1])
    template = _WANTED.get(kind, details["msg"])
    special = last in _WANTED_BY_KEY and (kind == "string_pattern_mismatch" or last == "passing_grade")
    wanted = _WANTED_BY_KEY[last] if special else template.format(**context)
    return f"{name}: {_shown(details['input'])} is not allowed; wanted {wanted}"


def _with_course_code(line: str, tables: Mapping[str, Any]) -> str:
    """Say which course ``courses[2]`` is: people count from one."""
    place = re.match(r"programs\.([^.]+)\.courses\[(\d+)\][^:]*", line)
    course = tables["programs"][place[1]]["courses"][int(place[2])] if place else None
    code = course.get("code") if isinstance(course, dict) else None
    return f"{place[0]} ({code}){line[place.end() :]}" if place and code else line


def _shown(value: object) -> str:
    shown = without_password(repr(value)) if not isinstance(value, bool) else str(value).lower()
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at ``location`` knows."""
    section: type[BaseModel] = ConfigFile
    for part in location:
        if part in section.model_fields:  # else a program's code or a course's number
            section = _section_in(section.model_fields[str(part)].annotation) or section
    return [field.alias or name for name, field in section.model_fields.items()]


def _section_in(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for inner in get_args(kind) if (found := _section_in(inner))), None)
