"""The law, whatever the service does: nobody is mailed twice, nobody is left out, and where the log and what arrived
differ, the log says ``unknown``. Every line of ``proofs.py`` through the whole ``send``, with a real sink as the judge.
"""

import base64
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mmcampaign.delivery import Backend, FileOptions, SendgridOptions, SesOptions, SmtpOptions, make_backend
from mmcampaign.history import campaign_list
from mmcampaign.model import CampaignState, MessageStatus, Outcome
from mmcampaign.sending import SendRequest, send
from mmcampaign.store.engine import Store
from tests.contract.proofs import SENDGRID, SES, SMTP
from tests.servers.faulty_http import Answer
from tests.servers.sendgrid import KEY, sendgrid_server
from tests.servers.ses import ENVIRONMENT, REGION, SesServer
from tests.servers.smtp import HANG, smtp_server
from tests.steps import approved, rows
from tests.worlds import Clock, TestApp, fill, make_settings, on_sqlite, people

FAULTS = 10  # in each run
RUNS = 60  # as often as a patient person says "send" again
PEOPLE_PER_REQUEST = 20
CONNECTIONS = 3


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A backend, the ids of the messages that arrived, and how many one fault may leave in doubt."""

    backend: Backend
    arrived: Callable[[], Sequence[str]]
    in_doubt: int = 1


@contextmanager
def smtp(line: str, messages: int) -> Iterator[Rig]:
    step, reply, _ = SMTP[line]
    with smtp_server() as server:
        every = 2 if step == "CONNECT" else messages // FAULTS
        server.script[step].extend((["" for _ in range(every - 1)] + [reply]) * FAULTS)
        patience = 1 if reply == HANG else 20
        options = SmtpOptions(
            host=server.host, port=server.port, connections=CONNECTIONS, timeout=patience, final_timeout=patience
        )
        yield Rig(
            backend=make_backend("smtp", options), arrived=lambda: [_message_id(mail.content) for mail in server.mails]
        )


def _scripted(answer: Answer, requests: int) -> list[Answer | None]:
    """A fault for every so many requests; what makes the service stop would else stop every one of them."""
    every = max(2, requests // FAULTS)
    return ([None] * (every - 1) + [answer]) * FAULTS


@contextmanager
def sendgrid(line: str, messages: int) -> Iterator[Rig]:
    answer, _ = SENDGRID[line]
    with sendgrid_server() as server:
        server.script.extend(_scripted(answer, messages // PEOPLE_PER_REQUEST))
        options = SendgridOptions(
            api_key=KEY, host=server.url, batch_size=PEOPLE_PER_REQUEST, timeout=_patience(answer)
        )
        yield Rig(
            backend=make_backend("sendgrid", options),
            arrived=lambda: [mail.headers["X-MMCampaign-Message"] for mail in server.mails],
            in_doubt=PEOPLE_PER_REQUEST,
        )


class _Ses(SesServer):
    """Takes everything itself. moto, which the contract tests ask, needs a hundredth of a second for a message."""

    def __init__(self, moto: str) -> None:
        super().__init__(moto)
        self.taken: list[bytes] = []

    def judge(self, path: str, headers: Message, raw: bytes) -> Answer:
        return Answer(status=200, body='{"MessageId": "loopback"}', taken=True)

    def take(self, path: str, headers: Message, raw: bytes) -> None:
        self.taken.append(base64.b64decode(json.loads(raw)["Content"]["Raw"]["Data"]))


@contextmanager
def ses(line: str, messages: int) -> Iterator[Rig]:
    answer, _ = SES[line]
    server = _Ses("")
    server.script.extend(_scripted(answer, messages))
    server.start()
    try:
        options = SesOptions(region=REGION, endpoint_url=server.url, connections=CONNECTIONS, timeout=_patience(answer))
        with patch.dict(os.environ, ENVIRONMENT):
            yield Rig(
                backend=make_backend("ses", options), arrived=lambda: [_message_id(content) for content in server.taken]
            )
    finally:
        server.stop()


def _patience(answer: Answer) -> float:
    """Seconds. Only where it is the fault does an answer come late, however busy the machine."""
    return 1 if answer.fault == "hang" else 20


def _message_id(eml: bytes) -> str:
    found = re.search(rb"^X-MMCampaign-Message: (\S+)\r$", eml, re.MULTILINE)
    assert found
    return found[1].decode()


RIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "smtp": (smtp, SMTP),
    "sendgrid": (sendgrid, SENDGRID),
    "ses": (ses, SES),
}
EVERY_LINE = [(backend, line) for backend, (_, lines) in RIGS.items() for line in lines]
SOME_LINES = [
    ("smtp", "421 to MAIL"),
    ("smtp", "dropped after the final dot"),
    ("sendgrid", "429 with Retry-After"),
    ("sendgrid", "202 lost on the way back: reset after the body"),
    ("ses", "200 lost on the way back: reset after the body"),
]


@on_sqlite
@pytest.mark.parametrize(("backend", "line"), SOME_LINES)
def test_the_law_under_some_faults(store: Store, tmp_path: Path, backend: str, line: str) -> None:
    judge(store, tmp_path, backend, line, messages=40)


@pytest.mark.soak
@on_sqlite
@pytest.mark.parametrize(("backend", "line"), EVERY_LINE)
def test_the_law_under_every_fault(store: Store, tmp_path: Path, backend: str, line: str) -> None:
    judge(store, tmp_path, backend, line, messages=1_000)


def judge(store: Store, folder: Path, backend: str, line: str, *, messages: int) -> None:
    rig_for, lines = RIGS[backend]
    expected: Outcome = lines[line][-1][0]
    with rig_for(line, messages) as rig:
        app = installation(store, folder, rig.backend, messages)
        ledger = send_until_settled(app)
        arrived = Counter(rig.arrived())
    assert sum(ledger.values()) == messages
    assert set(ledger) <= {"accepted", "failed", "unknown"}
    assert ledger.get("unknown", 0) <= (FAULTS * rig.in_doubt if expected is Outcome.UNKNOWN else 0)
    if expected is Outcome.NOT_TAKEN:
        assert ledger == {"accepted": messages}
    mismatches = 0
    for row in rows(app, campaign_of(app)):
        times = arrived.pop(row.message_id, 0)
        assert times <= 1, "mailed twice"
        assert row.status == MessageStatus.UNKNOWN or times == (row.status == MessageStatus.ACCEPTED), row.error
        mismatches += row.status == MessageStatus.UNKNOWN and times == 1
    assert not arrived, "mail that the log does not know"
    if backend != "ses" and expected is Outcome.UNKNOWN:
        assert mismatches, "the fault was to leave taken messages in doubt, and did not"


def installation(store: Store, folder: Path, backend: Backend, messages: int) -> TestApp:
    fill(store, people(messages))
    environ = {"MMCAMPAIGN_MAIL__RATE_PER_SECOND": "100000", "MMCAMPAIGN_MAIL__BACKEND": backend.name}
    settings = make_settings(folder, environ=environ)
    app = TestApp(settings=settings, store=store, clock=Clock(), actor="kim", swapped=backend)
    approved(app)
    return app


def campaign_of(app: TestApp) -> Any:
    return campaign_list(app)[0]


def send_until_settled(app: TestApp) -> dict[str, int]:
    """Say ``send`` until nothing is open; what the ledger says then, without the zeros."""
    campaign = campaign_of(app)
    for _ in range(RUNS):
        done, _run = send(
            app, SendRequest(campaign=campaign.id, resume=True), confirm=lambda _campaign, _number: None, stop=app.clock
        )
        if done.state is CampaignState.FINISHED or not done.ledger["pending"]:
            return {status: number for status, number in done.ledger.items() if number}
    pytest.fail(f"after {RUNS} runs: {dict(done.ledger)}")


@on_sqlite
def test_the_law_when_the_outbox_is_in_the_way_and_then_is_not(store: Store, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    outbox.write_text("a file where the folder should be")
    app = installation(store, tmp_path, make_backend("file", FileOptions(dir=outbox)), 40)
    done, run = send(app, SendRequest(campaign=1), confirm=lambda _campaign, _number: None, stop=app.clock)
    assert (done.ledger["pending"], "[delivery.file] dir" in run.trouble) == (40, True)
    outbox.unlink()
    assert send_until_settled(app) == {"accepted": 40}
    arrived = sorted(_message_id(path.read_bytes()) for path in outbox.glob("*/*.eml"))
    assert arrived == sorted(row.message_id for row in rows(app, campaign_of(app)))
