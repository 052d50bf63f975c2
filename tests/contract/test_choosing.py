"""Which backends there are, how one is made, and how servers' words are quoted."""

import subprocess
import sys
from pathlib import Path

import pytest

from mmcampaign.delivery import BACKENDS, FileOptions, check_backend, is_this_machine, make_backend, quote_reply
from mmcampaign.errors import ConfigError
from mmcampaign.testing import MemoryBackend
from tests.contract.batches import make_batch, make_message


@pytest.mark.parametrize(("name", "words"), [("ses", "not part of this version"), ("pigeon", "no backend 'pigeon'")])
def test_a_backend_that_does_not_exist_is_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        make_backend(name, FileOptions(dir=tmp_path))
    assert "smtp" in caught.value.todo


@pytest.mark.parametrize("name", BACKENDS)
def test_the_known_ones_are_known(name: str) -> None:
    check_backend(name)


def test_an_sdk_is_imported_only_when_its_backend_is_chosen() -> None:
    program = (
        "import sys; from pathlib import Path; from mmcampaign.delivery import FileOptions, make_backend;"
        "make_backend('file', FileOptions(dir=Path('outbox'))); print('sendgrid' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


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
