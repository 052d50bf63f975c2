"""Which backends there are, how one is made, and how servers' words are quoted."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mmcampaign.delivery import (
    BACKENDS,
    FileOptions,
    SesOptions,
    check_backend,
    is_this_machine,
    make_backend,
    quote_reply,
)
from mmcampaign.delivery.file import FileBackend
from mmcampaign.errors import ConfigError
from mmcampaign.store.engine import open_store
from mmcampaign.testing import MemoryBackend
from tests.contract.batches import make_batch, make_message
from tests.servers.ses import ENVIRONMENT
from tests.worlds import Clock, TestApp, make_settings


def test_a_backend_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no backend 'pigeon'") as caught:
        make_backend("pigeon", FileOptions(dir=tmp_path))
    assert "smtp" in caught.value.todo


def test_a_backend_whose_library_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mmcampaign.delivery.ses", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)  # what Python itself keeps for a module that is not there
    with pytest.raises(ConfigError, match="needs boto3") as caught:
        make_backend("ses", SesOptions(region="us-west-2"))
    assert caught.value.todo == 'pip install "mmcampaign[ses]"'


@pytest.mark.parametrize("name", BACKENDS)
def test_the_known_ones_are_known(name: str) -> None:
    check_backend(name)


@pytest.mark.parametrize(
    ("name", "settings", "batch_size"),
    [
        ("file", {}, FileBackend.batch_size),
        ("smtp", {"SMTP__CONNECTIONS": "3", "SMTP__BATCH": "7"}, 10),
        ("sendgrid", {"SENDGRID__BATCH_SIZE": "60"}, 60),
        ("ses", {"SES__CONNECTIONS": "2", "SES__BATCH": "4"}, 4),
    ],
)
def test_the_settings_reach_the_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, str], batch_size: int
) -> None:
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    environ = {f"MMCAMPAIGN_DELIVERY__{key}": value for key, value in settings.items()}
    environ |= {"MMCAMPAIGN_MAIL__BACKEND": name, "SENDGRID_API_KEY": "SG.x"}
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    with closing(store):
        app = TestApp(settings=make_settings(tmp_path, environ=environ), store=store, clock=Clock(), actor="kim")
        with closing(app.backend()) as backend:
            assert (backend.name, backend.batch_size) == (name, batch_size)


def test_an_sdk_is_imported_only_when_its_backend_is_chosen() -> None:
    program = (
        "import sys; from pathlib import Path; from mmcampaign.delivery import FileOptions, make_backend;"
        "make_backend('file', FileOptions(dir=Path('outbox'))); print({'sendgrid', 'boto3'} & sys.modules.keys())"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("mail.example.org", False)],
)
def test_which_hosts_are_this_machine(host: str, here: bool) -> None:
    assert is_this_machine(host) is here


@pytest.mark.parametrize(
    ("reply", "quoted"),
    [
        (b"5.1.1 <ada@example.com>: unknown", "5.1.1 <[address]>: unknown"),
        ("two\nlines\r\n and\ttabs", "two lines and tabs"),
        (b"caf\xe9 \x1b[31mred", "caf� [31mred"),
        ("user ADA LOVELACE, known as ada, is gone", "user [name], known as [name], is gone"),
        ("adamant", "adamant"),
        ("x" * 500, "x" * 199 + "…"),
    ],
    ids=["address", "line breaks", "odd bytes and escapes", "name and local part", "part of a word", "long"],
)
def test_a_server_s_words_are_quoted_safely(reply: str | bytes, quoted: str) -> None:
    assert quote_reply(reply, make_message(1, email="ada@example.com")) == quoted


def test_the_memory_backend_keeps_what_is_handed_over_twice() -> None:
    backend, message = MemoryBackend(), make_message(1)
    backend.deliver(make_batch(message))
    backend.deliver(make_batch(message))
    assert backend.taken == [message, message]
