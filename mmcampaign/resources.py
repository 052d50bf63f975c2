"""Finds what stands at the top level of the checkout, ``templates/``, ``migrations/`` and ``config.toml``, wherever the
package runs from.

An installed wheel carries copies under ``mmcampaign/_bundled``; a checkout (also an editable install) has the
originals beside the package. The working directory never counts.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """The folder or file called ``name``; raises FileNotFoundError when the installation is damaged."""
    for place in (_PACKAGE.parent / name, _PACKAGE / "_bundled" / name):
        if place.exists() and (place.parent != _PACKAGE.parent or (_PACKAGE.parent / "pyproject.toml").exists()):
            return place
    raise FileNotFoundError(f"mmcampaign was installed without its {name}; install it again")
