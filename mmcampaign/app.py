"""Wiring: settings become a store, a merger and a backend. The one place where tests swap parts.

Use cases receive a built ``App``; nothing below this module reads the environment or a clock.
"""

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mmcampaign.config import Settings, find_config, load_settings
from mmcampaign.config_schema import did_you_mean
from mmcampaign.errors import InputError
from mmcampaign.model import Program
from mmcampaign.resources import resource
from mmcampaign.store.engine import Store, open_store
from mmcampaign.store.programs import sync_programs

if TYPE_CHECKING:
    from mmcampaign.delivery import Backend, Options
    from mmcampaign.merge import Merger


@dataclass(frozen=True, kw_only=True)
class App:
    """Everything a use case needs. ``clock`` gives aware UTC times; ``actor`` is who acts, for the log."""

    settings: Settings
    store: Store
    clock: Callable[[], datetime]
    actor: str
    fixed_today: date | None = None

    @property
    def today(self) -> date:
        """The day that decides, in the site's time zone."""
        return self.fixed_today or self.clock().astimezone(self.settings.site.zone).date()

    def program(self, code: str) -> Program:
        """The configured program; InputError names those there are."""
        programs = self.settings.programs
        if code not in programs:
            raise InputError(
                f"There is no program {code!r} in {self.settings.path.name}.{did_you_mean(code, programs)}",
                todo=f"Programs: {', '.join(programs)}.",
            )
        return programs[code]

    def merger(self) -> "Merger":
        """Templates of the site first, the shipped ones behind them."""
        from mmcampaign.merge import Merger  # noqa: PLC0415  Jinja and premailer cost half a second

        return Merger(self.settings.templates.dir, resource("templates") / "emails")

    def backend(self, name: str = "") -> "Backend":
        """The backend of that name, or the configured one; ConfigError when its secrets are missing."""
        from mmcampaign.delivery import make_backend  # noqa: PLC0415  most commands deliver nothing

        chosen = name or self.settings.mail.backend
        return make_backend(chosen, self._options(chosen))

    def _options(self, name: str) -> "Options":
        from mmcampaign.delivery import FileOptions, SendgridOptions, SesOptions, SmtpOptions  # noqa: PLC0415  as above

        delivery, secrets = self.settings.delivery, self.settings.secrets
        if name == "smtp":
            smtp = delivery.smtp
            return SmtpOptions(
                host=smtp.host,
                port=smtp.port,
                security=smtp.security,
                username=smtp.username,
                password=secrets.smtp_password,
                connections=smtp.connections,
                batch=smtp.batch,
            )
        if name == "sendgrid":
            grid = delivery.sendgrid
            return SendgridOptions(
                host=grid.host, api_key=secrets.sendgrid_api_key, batch_size=grid.batch_size, sandbox=grid.sandbox
            )
        if name == "ses":
            return SesOptions(**dict(delivery.ses))
        return FileOptions(dir=delivery.file.dir)


def open_app(
    config: Path | None, environ: Mapping[str, str], *, cwd: Path, today: date | None = None, actor: str = ""
) -> App:
    """Read the configuration, open the database, and bring its copy of the programs up to date."""
    settings = load_settings(find_config(config, environ, cwd), environ)
    store = open_store(settings.database.url)
    sync_programs(store, tuple(settings.programs.values()))
    return App(
        settings=settings,
        store=store,
        clock=lambda: datetime.now(UTC),
        actor=actor or _user(),
        fixed_today=today,
    )


def _user() -> str:
    """Who is logged in; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown user"
