"""Checks that leave the process: a real server on loopback for the links, a stand-in program for the spam filter."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mmcampaign.checks import limits, spam
from mmcampaign.checks.online import Answer, ask, ask_all, is_public
from mmcampaign.checks.outside import check_links, check_spam
from mmcampaign.findings import Severity
from tests.unit.checks_builders import LINK, checked_email


class Server(ThreadingHTTPServer):
    """Answers by the first word of the path: a status, or ``to/…`` for a redirect."""

    daemon_threads = True
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        word, _, rest = self.path.lstrip("/").partition("/")
        if word == "to":
            self.send_response(302)
            self.send_header("Location", f"/{rest}")
        elif word == "inside":
            self.send_response(302)
            self.send_header("Location", "http://inside.test/secret")
        else:
            self.send_response(200 if word == "get" and self.command == "GET" else 405 if word == "get" else int(word))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET = answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(("127.0.0.1", 0), Handler)
    running.asked = []
    thread = Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def resolve(host: str, port: int) -> list[str]:
    """Everything is on loopback, but for a neighbour and a name nobody has."""
    if host == "nobody.test":
        raise socket.gaierror(socket.EAI_NONAME, "unknown")
    return ["10.0.0.7"] if host == "inside.test" else ["127.0.0.1"]


def anywhere_but_inside(address: str) -> bool:
    return address == "127.0.0.1"


def answer(server: Server, path: str, host: str = "course.test") -> Answer:
    address = f"http://{host}:{server.server_port}/{path}"
    return ask(address, resolver=resolve, allowed=anywhere_but_inside)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("200", "", id="in order"),
        pytest.param("404", "answers 404", id="not found"),
        pytest.param("500", "answers 500", id="broken"),
        pytest.param("get", "", id="HEAD refused, GET answered"),
        pytest.param("to/to/200", "", id="leads on"),
        pytest.param("to/404", "answers 404", id="leads on to nothing"),
        pytest.param("/".join(["to"] * 9), "leads on more than 5 times", id="leads on for ever"),
        pytest.param("inside", "leads into a private network", id="leads on to a neighbour"),
    ],
)
def test_what_a_server_says(server: Server, path: str, problem: str) -> None:
    assert answer(server, path) == Answer(checked=True, problem=problem)


def test_neighbours_are_never_asked(server: Server) -> None:
    assert answer(server, "200", host="inside.test").problem == "leads into a private network"
    assert ask(f"http://127.0.0.1:{server.server_port}/200").problem == "leads into a private network"
    assert server.asked == []


@pytest.mark.parametrize("turned_away", [401, 403, 429, 503])
def test_a_server_that_turns_programs_away_says_nothing_of_the_page(server: Server, turned_away: int) -> None:
    assert answer(server, str(turned_away)) == Answer(checked=False)


def test_a_host_that_does_not_exist_is_told_where_others_do() -> None:
    found = ask("https://nobody.test/", resolver=resolve, allowed=anywhere_but_inside)
    assert found == Answer(checked=True, problem="leads to a host that does not exist")


def test_offline_nothing_is_checked() -> None:
    def offline(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no network")

    assert ask("https://www.edx.org/", resolver=offline) == Answer(checked=False)


def test_no_answer_in_time_is_no_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = ask(f"http://course.test:{port}/", resolver=resolve, allowed=anywhere_but_inside)
    assert found == Answer(checked=False)


def test_a_closed_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = ask(f"http://course.test:{port}/", resolver=resolve, allowed=anywhere_but_inside)
    assert found == Answer(checked=True, problem="does not answer (ConnectionRefusedError)")


def test_each_address_is_asked_once(server: Server) -> None:
    address = f"http://course.test:{server.server_port}/200"
    found = ask_all([address, address, f"{address}/b"], resolver=resolve, allowed=anywhere_but_inside)
    assert len(found) == 2
    assert sorted(server.asked) == ["HEAD /200", "HEAD /200/b"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("192.168.1.1", False),
        ("fe80::1%eth0", False),
        ("169.254.169.254", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_dead_links_warn_in_their_line_and_the_way_out_is_left_alone(tmp_path: Path) -> None:
    asked: list[str] = []

    def server_says(addresses: Any) -> dict[str, Answer]:
        asked.extend(addresses)
        return {each: Answer(checked="climate" not in each, problem="answers 404") for each in asked}

    email = checked_email(tmp_path)
    found, aside = check_links([email, replace(email, shape="another", learners=1)], server_says)
    assert LINK not in asked
    assert {(each.code, each.place, each.severity) for each in found} == {
        ("dead-link", "mail/body.html:11", Severity.WARN),
        ("dead-link", "mail/body.txt:5", Severity.WARN),
    }
    assert {each.learners for each in found} == {6}
    assert aside == []


def test_links_without_an_answer_are_not_called_fine(tmp_path: Path) -> None:
    found, aside = check_links([checked_email(tmp_path)], lambda each: dict.fromkeys(each, Answer(checked=False)))
    assert (found, aside) == ((), ["links to www.edx.org: no answer could be had"])


# --- SpamAssassin ----------------------------------------------------------------------------------------------------

SCRIPT = """#!/bin/sh
cat > /dev/null
printf 'X-Spam-Status: No, score={score} required=5.0 tests=HTML_FONT_LOW_CONTRAST,\\n'
printf '\\tNO_RELAYS autolearn=no\\n\\nbody\\n'
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A path that holds this program under SpamAssassin's name, and nothing else of that name."""

    def install(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "spamassassin"
        program.write_text(script, "utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    return install


@pytest.mark.parametrize(
    ("score", "codes"), [pytest.param("0.7", [], id="little"), pytest.param("2.3", ["spam-score"], id="too much")]
)
def test_a_score_over_the_limit_warns(tmp_path: Path, installed: Any, score: str, codes: list[str]) -> None:
    installed(SCRIPT.replace("{score}", score))
    found, aside = check_spam([checked_email(tmp_path)])
    assert [each.code for each in found] == codes
    assert aside == []
    assert all("2.3 points" in each.message and "html font low contrast, no relays" in each.message for each in found)


def test_a_filter_that_fails_is_no_good_score(tmp_path: Path, installed: Any) -> None:
    installed("#!/bin/sh\nexit 1\n")
    assert check_spam([checked_email(tmp_path)]) == ((), [spam.NOT_ANSWERED])


def test_only_some_shapes_are_scored_and_that_is_told(tmp_path: Path, installed: Any) -> None:
    installed(SCRIPT.replace("{score}", "0"))
    email = checked_email(tmp_path)
    _, aside = check_spam([replace(email, shape=str(number)) for number in range(5)])
    assert aside == ["spam score: 3 shapes of 5 were looked at"]


def test_without_a_filter_nothing_is_said_to_be_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_spam([checked_email(tmp_path)]) == ((), [spam.NOT_INSTALLED])
