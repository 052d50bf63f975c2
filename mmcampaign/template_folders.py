"""Use case: the template folders there are, and a new one to write in."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmcampaign.config import Settings
from mmcampaign.errors import InputError, UnavailableError
from mmcampaign.resources import resource

SKELETON = "_new"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, kw_only=True)
class TemplateFolder:
    """A template, where it stands, and the codes of the programs that use it. ``shipped``: it came with mmcampaign."""

    name: str
    folder: Path
    programs: tuple[str, ...]
    shipped: bool


def list_templates(settings: Settings) -> list[TemplateFolder]:
    """Every template that a program can name, by name; a site's own stands before a shipped one of the same name."""
    found: dict[str, TemplateFolder] = {}
    for folder in _folders(settings):
        users = tuple(code for code, program in settings.programs.items() if program.template == folder.name)
        shipped = folder.parent == _shipped()
        found.setdefault(folder.name, TemplateFolder(name=folder.name, folder=folder, programs=users, shipped=shipped))
    return sorted(found.values(), key=lambda template: template.name)


def new_template(settings: Settings, name: str) -> Path:
    """A folder called ``name`` with words to start from, in the site's own templates; the folder.

    Raises InputError for a name that will not do or is taken, UnavailableError when the disk does not take it.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be the name of a template.",
            unchanged="Nothing was made.",
            todo="Use up to 40 letters, digits, - and _, and begin with a letter or digit.",
        )
    taken = next((folder for folder in _folders(settings) if folder.name.casefold() == name.casefold()), None)
    if taken is not None:
        raise InputError(
            f"There is a template {taken.name} already: {taken}",
            unchanged="It is as it was.",
            todo="Choose another name, or edit that folder.",
        )
    folder = settings.templates.dir / name
    draft = folder.with_name(f".{name}.part")
    try:
        shutil.copytree(_shipped() / SKELETON, draft, copy_function=shutil.copyfile, dirs_exist_ok=True)
        draft.rename(folder)
    except OSError as error:
        raise UnavailableError(
            f"{folder} cannot be written: {error.strerror or error}",
            unchanged="No template was made.",
            todo="Make [templates] dir of config.toml a folder you may write to.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _shipped() -> Path:
    return resource("templates") / "emails"


def _folders(settings: Settings) -> Iterator[Path]:
    """Template folders, the site's own first. Those that begin with ``_`` or ``.`` are parts, not templates."""
    for place in dict.fromkeys((settings.templates.dir, _shipped())):
        if place.is_dir():
            yield from (path for path in sorted(place.iterdir()) if path.is_dir() and path.name[0] not in "._")
