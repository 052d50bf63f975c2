"""Postfix's smtp-sink, where it is installed: a server that we did not write, told to misbehave by its own options."""

import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from mmcampaign.delivery import SmtpOptions, make_backend
from mmcampaign.model import Outcome
from tests.contract.batches import people
from tests.contract.proofs import ACCEPTED, FAILED, NOT_TAKEN, UNKNOWN
from tests.servers.unused import unused_port

SMTP_SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")
needs_smtp_sink = pytest.mark.skipif(SMTP_SINK is None, reason="smtp-sink is not here: apt-get install postfix")

FAULTS: dict[str, tuple[list[str], set[Outcome]]] = {
    "none": ([], {ACCEPTED}),
    "without pipelining": (["-p"], {ACCEPTED}),
    "slow replies": (["-W", ".:1:5"], {ACCEPTED}),
    "450 to RCPT": (["-r", "RCPT"], {NOT_TAKEN}),
    "550 to RCPT": (["-f", "RCPT", "-B", "550 5.1.1 User unknown"], {FAILED}),
    "421 to DATA": (["-Q", "DATA"], {NOT_TAKEN}),
    "disconnect after the dot": (["-q", "."], {UNKNOWN, NOT_TAKEN}),
    "refuses the connection": (["-f", "CONNECT"], {NOT_TAKEN}),
}


@contextmanager
def smtp_sink(folder: Path, options: list[str]) -> Iterator[int]:
    """Keeps each message as a file in ``folder``; those too that it refuses after the dot, so it is not asked to."""
    assert SMTP_SINK
    folder.mkdir()
    folder.chmod(0o777)
    port = unused_port()
    command = [SMTP_SINK, *([] if sys.platform == "darwin" else ["-u", "nobody"]), *options]
    process = subprocess.Popen([*command, "-d", "message.", f"127.0.0.1:{port}", "50"], cwd=folder)
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.05)
    pytest.fail("smtp-sink does not start")


@needs_smtp_sink
@pytest.mark.parametrize(("options", "outcomes"), FAULTS.values(), ids=FAULTS)
def test_every_receipt_is_the_truth(tmp_path: Path, options: list[str], outcomes: set[Outcome]) -> None:
    batch = people(40)
    with (
        smtp_sink(tmp_path / "kept", options) as port,
        closing(make_backend("smtp", SmtpOptions(host="127.0.0.1", port=port))) as backend,
    ):
        receipts = backend.deliver(batch)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "kept").iterdir())
    arrived = Counter(found.decode() for found in re.findall(rb"^X-MMCampaign-Message: (\w+)", kept, re.MULTILINE))
    assert {receipt.outcome for receipt in receipts} <= outcomes, {receipt.error for receipt in receipts}
    for receipt in receipts:
        possible = {ACCEPTED: {1}, UNKNOWN: {0, 1}}.get(receipt.outcome, {0})
        assert arrived[receipt.message_id] in possible, receipt
