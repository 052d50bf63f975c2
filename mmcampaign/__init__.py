"""Email campaigns for edX MicroMasters programs.

For analysts: ``mmcampaign.open(folder)`` gives an installation's data as pandas data frames (``mmcampaign.Project``).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {"open": "open_project", "Project": "Project"}  # from api.py, loaded when asked for: it brings pandas


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module("mmcampaign.api"), _LAZY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
