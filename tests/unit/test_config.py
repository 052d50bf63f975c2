"""Settings: every key of contract 2, every problem named, the environment before the file."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from mmcampaign.config import Secrets, Settings, find_config, load_settings
from mmcampaign.errors import ConfigError
from mmcampaign.model import ComingRun, Sender
from mmcampaign.resources import resource

SMALL = """
[site]
name = "UQx"
timezone = "Australia/Brisbane"
[mail]
from = '"UQx Updates" <business@uqx.uq.edu.au>'
postal_address = "St Lucia QLD 4072, Australia"
public_url = "https://mail.example.edu"
[programs.river]
title = "Rivers"
template = "river"
[[programs.river.courses]]
code = "river1x"
prefix = "UQx_RIVER1x"
title = "Rain"
link = "https://www.edx.org/course/rain"
passing_grade = 0.65
[[programs.river.courses]]
code = "river2x"
prefix = "UQx_RIVER2x"
title = "Snow"
link = "https://www.edx.org/course/snow"
passing_grade = 0.7
[[programs.river.courses]]
code = "rivercapx"
prefix = "UQx_RIVERCAPx"
passing_grade = 0.5
series = false
"""

EVERY_KEY = """
[site]
name = "UQx"
timezone = "Australia/Brisbane"
staff = ["kim_staff", "@uq.edu.au"]
[database]
url = "sqlite:///data/log.db"
[templates]
dir = "templates/emails"
[mail]
backend = "ses"
from = '"UQx Updates" <business@uqx.uq.edu.au>'
reply_to = "help@uqx.uq.edu.au"
postal_address = "The University of Queensland, St Lucia QLD 4072, Australia"
public_url = "https://mail.example.edu/mm/"
rate_per_second = 0.5
[delivery.file]
dir = "outbox"
[delivery.smtp]
host = "smtp.example.edu"
port = 587
security = "starttls"
username = "mm"
connections = 8
batch = 7
[delivery.sendgrid]
host = "http://localhost:8080"
batch_size = 1000
sandbox = true
[delivery.ses]
region = "ap-southeast-2"
endpoint_url = "http://127.0.0.1:5000"
configuration_set = "mm_events"
connections = 2
batch = 5
[policy]
cooldown_days = 7
consent = "required"
approval = "second-person"
holdout_percent = 12.5
[programs.river]
title = "Rivers"
template = "river"
subject = "Well done"
[[programs.river.courses]]
code = "river1x"
prefix = "UQx_RIVER.1x"
title = "Rain"
link = "https://www.edx.org/course/rain"
passing_grade = 1
series = true
runs = ["1T2018", "UQx_RIVER.1x_2025_T1"]
current_run = "UQx_RIVER.1x_2025_T1"
coming_run = { run = "2026_T1", link = "https://edx.org/rain?run=2", title = "Hail", enrollment_closes = 2026-06-01 }
upgrade_deadline = 2026-05-20
"""


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, environ or {})


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ)
    return caught.value.problems


def edited(*changes: tuple[str, str]) -> str:
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def test_the_shipped_file_loads_with_its_four_programs() -> None:
    settings = load_settings(resource("config.toml"), {})
    assert list(settings.programs) == ["buslead", "corpinn", "engy", "lgdm"]
    assert [len(program.series) for program in settings.programs.values()] == [4, 4, 4, 4]
    assert settings.programs["engy"].course("engy2x").coming_run == ComingRun(run="2T2019")


def test_every_key_of_the_contract_is_read(tmp_path: Path) -> None:
    settings = load(tmp_path, EVERY_KEY)
    assert settings.root == tmp_path
    assert settings.site.staff == ("kim_staff", "@uq.edu.au")
    assert settings.site.zone.key == "Australia/Brisbane"
    assert settings.database.url == f"sqlite:///{tmp_path}/data/log.db"
    assert settings.templates.dir == tmp_path / "templates/emails"
    assert settings.mail.backend == "ses"
    assert settings.mail.sender == Sender(
        name="UQx Updates", email="business@uqx.uq.edu.au", reply_to="help@uqx.uq.edu.au"
    )
    assert settings.mail.public_url == "https://mail.example.edu/mm"
    assert settings.mail.rate_per_second == 0.5
    assert settings.delivery.file.dir == tmp_path / "outbox"
    assert settings.delivery.smtp.model_dump() == {
        "host": "smtp.example.edu",
        "port": 587,
        "security": "starttls",
        "username": "mm",
        "connections": 8,
        "batch": 7,
    }
    assert settings.delivery.sendgrid.host == "http://localhost:8080"
    assert (settings.delivery.sendgrid.batch_size, settings.delivery.sendgrid.sandbox) == (1000, True)
    assert settings.delivery.ses.model_dump() == {
        "region": "ap-southeast-2",
        "endpoint_url": "http://127.0.0.1:5000",
        "configuration_set": "mm_events",
        "connections": 2,
        "batch": 5,
    }
    assert settings.policy.model_dump() == {
        "cooldown_days": 7,
        "consent": "required",
        "approval": "second-person",
        "holdout_percent": 12.5,
    }
    program = settings.programs["river"]
    assert (program.title, program.template, program.subject) == ("Rivers", "river", "Well done")
    course = program.course("river1x")
    assert (course.runs, course.current_run) == (("1T2018", "2025_T1"), "2025_T1")
    assert course.coming_run == ComingRun(
        run="2026_T1",
        link="https://edx.org/rain?run=2",
        title="Hail",
        enrollment_closes=date(2026, 6, 1),
    )
    assert course.upgrade_deadline == date(2026, 5, 20)


def test_sections_left_out_take_defaults_that_start_from_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, SMALL)
    assert settings.database.url == f"sqlite:///{tmp_path}/mmcampaign.db"
    assert settings.delivery.file.dir == tmp_path / "outbox"
    assert settings.templates.dir == tmp_path / "templates/emails"
    assert settings.mail.backend == "file"
    assert settings.policy.cooldown_days == 14


def test_a_file_saved_by_a_windows_editor_loads(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load_settings(path, {}).site.name == "UQx"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        pytest.param("sqlite:////srv/mm.db", "sqlite:////srv/mm.db", id="absolute file"),
        pytest.param("postgresql+psycopg://kim@db/mm", "postgresql+psycopg://kim@db/mm", id="postgresql"),
        pytest.param("postgres://kim@db/mm", "postgresql+psycopg://kim@db/mm", id="hosting companies' spelling"),
    ],
)
def test_database_urls(tmp_path: Path, url: str, wanted: str) -> None:
    assert load(tmp_path, SMALL, {"MMCAMPAIGN_DATABASE__URL": url}).database.url == wanted


COURSE = "programs.river.courses[0]"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param(
            edited(('name = "UQx"', 'nam = "UQx"')),
            ("site.name: is missing", "site.nam: is not a known key. Did you mean 'name'?"),
            id="misspelt key",
        ),
        pytest.param(
            SMALL + "[delivery.smpt]\n",
            ("delivery.smpt: is not a known key. Did you mean 'smtp'?",),
            id="misspelt section",
        ),
        pytest.param(
            edited(("Australia/Brisbane", "Australia/Brisbain")),
            ("site.timezone: 'Australia/Brisbain' is not a time zone. Did you mean 'Australia/Brisbane'?",),
            id="time zone",
        ),
        pytest.param(
            edited(("Australia/Brisbane", "Australia")),
            ("site.timezone: 'Australia' is not a time zone. Did you mean 'Australia/NSW'?",),
            id="folder of time zones",
        ),
        pytest.param(
            edited(('"https://mail.example.edu"', '"http://mail.example.edu"')),
            ("mail.public_url: 'http://mail.example.edu' is not an https:// address",),
            id="public address without encryption",
        ),
        pytest.param(
            edited(('"St Lucia QLD 4072, Australia"', "17")),
            ("mail.postal_address: 17 is not allowed; wanted text in quotes",),
            id="number for text",
        ),
        pytest.param(
            SMALL + "[policy]\nholdout_percent = 101\ncooldown_days = 1.5\nconsent = 'maybe'\n",
            (
                "policy.cooldown_days: 1.5 is not allowed; wanted a whole number",
                "policy.consent: 'maybe' is not allowed; wanted 'required', 'not-refused' or 'off'",
                "policy.holdout_percent: 101 is not allowed; wanted a number of at most 100",
            ),
            id="policy",
        ),
        pytest.param(
            SMALL + "[ingest]\nlargest_loss_percent = 120\nlargest_loss = 1\n",
            (
                "ingest.largest_loss_percent: 120 is not allowed; wanted a number of at most 100",
                "ingest.largest_loss: is not a known key. Did you mean 'largest_loss_percent'?",
            ),
            id="ingest",
        ),
        pytest.param(
            edited(("public_url", "rate_per_second = 0\npublic_url")),
            ("mail.rate_per_second: 0 is not allowed; wanted a number greater than 0",),
            id="no mail a second",
        ),
        pytest.param(
            edited(("public_url", "send_window = 'office hours'\nclaim_batch = 0\npublic_url")),
            (
                "mail.send_window: 'office hours' is not a send window; write it like mon-fri 09:00-17:00",
                "mail.claim_batch: 0 is not allowed; wanted a number of at least 1",
            ),
            id="hours and batches",
        ),
        pytest.param(
            edited(("public_url", "rate_per_second = true\npublic_url")),
            ("mail.rate_per_second: true is not allowed; wanted a number",),
            id="truth is not a number",
        ),
        pytest.param(
            SMALL + "[database]\nurl = 'mysql://kim:geheim@db/mm'\n",
            ("database.url: 'mysql://kim:***@db/mm' is not sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME",),
            id="other database, password unseen",
        ),
        pytest.param(
            SMALL + "[database]\nurl = 'sqlite:///:memory:'\n",
            ("database.url: 'sqlite:///:memory:' is not sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME",),
            id="a log that would not last",
        ),
        pytest.param(
            edited(("programs.river", "programs.River"), ("programs.river", "programs.River")).replace(
                "programs.river", "programs.River"
            ),
            (
                "programs.River: 'River' is not allowed; "
                "wanted a code of small letters, digits and _, beginning with a letter, at most 40",
            ),
            id="program code",
        ),
        pytest.param(
            edited(('code = "river1x"', 'code = "1-river"')),
            (
                f"{COURSE}.code (1-river): '1-river' is not allowed; "
                "wanted small letters, digits and _, beginning with a letter, at most 40",
            ),
            id="course code",
        ),
        pytest.param(
            edited(("passing_grade = 0.65", "passing_grade = 65")),
            (
                f"{COURSE}.passing_grade (river1x): 65 is not allowed; "
                "wanted a fraction above 0 and at most 1 (65 % is 0.65)",
            ),
            id="passing grade in per cent",
        ),
        pytest.param(
            edited(("passing_grade = 0.65", "passing_grade = 0")),
            (
                f"{COURSE}.passing_grade (river1x): 0 is not allowed; "
                "wanted a fraction above 0 and at most 1 (65 % is 0.65)",
            ),
            id="passing grade that everyone reaches",
        ),
        pytest.param(
            edited(("passing_grade = 0.65", "passing_grade = 0.65\nupgrade_deadline = '2027-02-01'")),
            (
                f"{COURSE}.upgrade_deadline (river1x): '2027-02-01' is not allowed; "
                "wanted a date without quotes, such as 2027-02-01",
            ),
            id="date in quotes",
        ),
        pytest.param(
            edited(('title = "Rain"\nlink = "https://www.edx.org/course/rain"\n', "")),
            (
                f"{COURSE}.title (river1x): is missing; a course of the series needs one for its emails",
                f"{COURSE}.link (river1x): is missing; a course of the series needs one for its emails",
            ),
            id="series course without title and link",
        ),
        pytest.param(
            edited(("https://www.edx.org/course/rain", "javascript:alert(1)")),
            (f"{COURSE}.link (river1x): 'javascript:alert(1)' is not an https:// address",),
            id="link that is none",
        ),
        pytest.param(
            edited(('code = "river2x"', 'code = "river1x"'), ("UQx_RIVER2x", "UQx_RIVER1x")),
            (
                f"programs.river.courses[1].code (river1x): 'river1x' is already used by {COURSE}.code",
                f"programs.river.courses[1].prefix (river1x): 'UQx_RIVER1x' is already used by {COURSE}.prefix",
            ),
            id="code and prefix used twice",
        ),
        pytest.param(
            edited(('code = "river1x"', 'code = "no_audited"')),
            (f"{COURSE}.code (no_audited): 'no_audited' is the name of a column of the report; take another",),
            id="code that doubles a column",
        ),
        pytest.param(
            edited(("passing_grade = 0.65", 'passing_grade = 0.65\ncurrent_run = "UQx_RIVER2x_1T2019"')),
            (f"{COURSE}.current_run (river1x): 'UQx_RIVER2x_1T2019' is a run of 'river2x', not of 'river1x'",),
            id="run of another course",
        ),
        pytest.param(
            edited(("passing_grade = 0.65", 'passing_grade = 0.65\ncoming_run = { run = "UQx_LAKE1x_1T2019" }')),
            (
                f"{COURSE}.coming_run.run (river1x): "
                "'UQx_LAKE1x_1T2019' looks like a run of 'UQx_LAKE1x', not of 'river1x' ('UQx_RIVER1x')",
            ),
            id="run of a course nobody configured",
        ),
        pytest.param(
            edited(("passing_grade = 0.65", 'passing_grade = 0.65\nruns = ["course-v1:UQx+RIVER1x+1T2019"]')),
            (
                f"{COURSE}.runs[0] (river1x): 'course-v1:UQx+RIVER1x+1T2019' is a course key; "
                "write the run as in the file names, such as 'UQx_RIVER1x_1T2019'",
            ),
            id="course key",
        ),
        pytest.param(
            edited(("passing_grade = 0.65", 'passing_grade = 0.65\nruns = ["1T2018", "UQx_RIVER1x_1T2018"]')),
            (f"{COURSE}.runs (river1x): '1T2018' stands there twice",),
            id="run listed twice",
        ),
        pytest.param(
            edited(("passing_grade = 0.65", 'passing_grade = 0.65\nruns = ["1T2018"]\ncurrent_run = "1T2019"')),
            (f"{COURSE}.current_run (river1x): '1T2019' is not among runs = ['1T2018']",),
            id="current run not listed",
        ),
        pytest.param(
            SMALL[: SMALL.index("[programs")] + "[programs]\n",
            ("programs: is empty; describe at least one",),
            id="no program",
        ),
        pytest.param(
            SMALL[: SMALL.index("[[programs")] + "courses = [3]\n",
            (
                "programs.river.courses[0]: 3 is not allowed; wanted a table",
                "programs.river.courses: no course counts; at least one must stand here without series = false",
            ),
            id="course that is no table",
        ),
    ],
)
def test_each_problem_is_named_with_its_key(tmp_path: Path, text: str, wanted: tuple[str, ...]) -> None:
    assert problems(tmp_path, text) == wanted


@pytest.mark.parametrize(
    "sender",
    [
        pytest.param("a@example.edu, b@example.edu", id="two addresses"),
        pytest.param("UQx Updates", id="only a name"),
        pytest.param("jösé@example.edu", id="letters outside ASCII"),
        pytest.param("kim@bücher.example", id="domain outside ASCII"),
        pytest.param("kim@localhost", id="no domain"),
        pytest.param('"UQx\\nBcc: x@example.edu" <kim@example.edu>', id="second line"),
    ],
)
def test_a_sender_that_cannot_be_used(tmp_path: Path, sender: str) -> None:
    text = SMALL.replace("""'"UQx Updates" <business@uqx.uq.edu.au>'""", f'"""{sender} """')
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith("mail.from: ")


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    text = edited(("passing_grade = 0.65", "passing_grade = 65"), ("Australia/", "")) + "[mial]\n[policy]\nx = 1\n"
    keys = {line.partition(":")[0].partition(" ")[0] for line in problems(tmp_path, text)}
    assert keys == {"site.timezone", f"{COURSE}.passing_grade", "mial", "policy.x"}


def test_environment_comes_before_the_file(tmp_path: Path) -> None:
    environ = {
        "MMCAMPAIGN_MAIL__BACKEND": "smtp",
        "MMCAMPAIGN_DELIVERY__SMTP__PORT": "2525",
        "MMCAMPAIGN_DELIVERY__SENDGRID__SANDBOX": "true",
        "MMCAMPAIGN_MAIL__RATE_PER_SECOND": "2.5",
        "MMCAMPAIGN_DELIVERY__FILE__DIR": "elsewhere",
    }
    settings = load(tmp_path, SMALL, environ)
    assert settings.mail.backend == "smtp"
    assert settings.delivery.smtp.port == 2525
    assert settings.delivery.sendgrid.sandbox is True
    assert settings.mail.rate_per_second == 2.5
    assert settings.delivery.file.dir == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        pytest.param(
            "MMCAMPAIGN_MAIL__BACKED",
            "smtp",
            "MMCAMPAIGN_MAIL__BACKED: no single value has this name. Did you mean 'MMCAMPAIGN_MAIL__BACKEND'?",
            id="misspelt",
        ),
        pytest.param(
            "MMCAMPAIGN_MAIL_BACKEND",
            "smtp",
            "MMCAMPAIGN_MAIL_BACKEND: is not read. Did you mean 'MMCAMPAIGN_MAIL__BACKEND'?",
            id="one underscore",
        ),
        pytest.param(
            "MMCAMPAIGN_DELIVERY__SMTP__PORT",
            "abc",
            "MMCAMPAIGN_DELIVERY__SMTP__PORT: 'abc' is not allowed; wanted a whole number",
            id="not a number",
        ),
        pytest.param(
            "MMCAMPAIGN_DATABASE__URL",
            "oracle://kim:geheim@db",
            "MMCAMPAIGN_DATABASE__URL: "
            "'oracle://kim:***@db' is not sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME",
            id="other database, password unseen",
        ),
        pytest.param(
            "MMCAMPAIGN_SITE__STAFF",
            "kim",
            "MMCAMPAIGN_SITE__STAFF: no single value has this name. Did you mean 'MMCAMPAIGN_SITE__NAME'?",
            id="a list is no single value",
        ),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, wanted: str) -> None:
    assert problems(tmp_path, SMALL, {variable: value}) == (wanted,)


def test_other_variables_are_left_alone(tmp_path: Path) -> None:
    assert load(tmp_path, SMALL, {"MMCAMPAIGN_CONFIG": "x", "MMCAMPAIGN_DEBUG": "1", "PATH": "/bin"})


def test_secrets_come_from_the_environment_and_stay_hidden(tmp_path: Path) -> None:
    environ = {"SENDGRID_API_KEY": "SG.abc\n", "MMCAMPAIGN_SECRET_KEY": "xyz"}
    settings = load(tmp_path, SMALL + "[database]\nurl = 'postgresql+psycopg://kim:geheim@db/mm'\n", environ)
    assert settings.secrets == Secrets(sendgrid_api_key="SG.abc", secret_key="xyz")
    assert "***" in repr(settings)
    assert not [word for word in ("SG.abc", "xyz", "geheim") if word in repr(settings)]


def test_a_secret_in_the_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    found = problems(tmp_path, SMALL + "[delivery.smtp]\npassword = 'geheim'\n")
    assert found == ("delivery.smtp.password: is not a known key.",)


def test_broken_toml_names_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 2, column \d+"):
        load(tmp_path, "[site]\nname = UQx\n")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(SMALL.replace("Rain", "Rægn").encode(encoding))
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(line \d+\)"):
        load_settings(path, {})


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path / "none.toml", {})


def test_the_nearest_file_upwards_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_config(None, {}, below) == tmp_path / "config.toml"


def test_a_named_file_comes_first(tmp_path: Path) -> None:
    for name in ("config.toml", "a.toml", "b.toml"):
        (tmp_path / name).touch()
    environ = {"MMCAMPAIGN_CONFIG": str(tmp_path / "a.toml")}
    assert find_config(Path("b.toml"), environ, tmp_path) == tmp_path / "b.toml"
    assert find_config(None, environ, tmp_path) == tmp_path / "a.toml"


@pytest.mark.parametrize(
    ("explicit", "environ", "wanted"),
    [
        pytest.param(Path("no.toml"), {}, "no.toml, which --config names", id="option"),
        pytest.param(None, {"MMCAMPAIGN_CONFIG": "no.toml"}, r"no.toml, which \$MMCAMPAIGN_CONFIG", id="variable"),
    ],
)
def test_a_named_file_that_is_not_there(
    tmp_path: Path, explicit: Path | None, environ: dict[str, str], wanted: str
) -> None:
    (tmp_path / "config.toml").touch()
    with pytest.raises(ConfigError, match=wanted):
        find_config(explicit, environ, tmp_path)


def test_no_file_anywhere_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no config.toml in {tmp_path}") as caught:
        find_config(None, {}, tmp_path)
    assert "--config" in caught.value.todo
