"""The errors a user can meet, each with the exit code the command line gives it.

    MmcampaignError
    ├── ConfigError        2  fix config.toml or the environment
    ├── InputError         2  fix what was typed, or the file it names
    ├── RefusedError       3  refused for safety; nothing was done
    └── UnavailableError   4  stopped part-way, or a service does not answer; says how to go on

Each says what happened, what stayed unchanged and what to do next. Library errors are wrapped at the edge
with ``from``; the command line catches the base once.
"""


class MmcampaignError(Exception):
    """Base of all errors meant for people.

    ``what`` happened; ``unchanged`` is the state that was left; ``todo`` is the next step, as a command where
    there is one.
    """

    exit_code = 4

    def __init__(self, what: str, *, unchanged: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.unchanged = unchanged
        self.todo = todo


class ConfigError(MmcampaignError):
    """The configuration cannot be used. ``problems`` holds one line for each, with its key."""

    exit_code = 2

    def __init__(self, what: str, *, problems: tuple[str, ...] = (), unchanged: str = "", todo: str = "") -> None:
        super().__init__(what, unchanged=unchanged, todo=todo)
        self.problems = problems


class InputError(MmcampaignError):
    """What was asked for does not exist or cannot be read."""

    exit_code = 2


class TemplateError(InputError):
    """A template cannot be merged. ``part`` and ``line`` say where (line 0: the file as a whole)."""

    def __init__(self, what: str, *, part: str = "", line: int = 0, unchanged: str = "", todo: str = "") -> None:
        super().__init__(what, unchanged=unchanged, todo=todo)
        self.part = part
        self.line = line


class RefusedError(MmcampaignError):
    """Refused for safety. ``facts`` say what, one line each."""

    exit_code = 3

    def __init__(self, what: str, *, facts: tuple[str, ...] = (), unchanged: str = "", todo: str = "") -> None:
        super().__init__(what, unchanged=unchanged, todo=todo)
        self.facts = facts


class UnavailableError(MmcampaignError):
    """A service, a disk or the database does not answer, or the work stopped part-way."""

    exit_code = 4
