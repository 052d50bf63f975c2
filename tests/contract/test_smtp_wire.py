"""Bytes to and from an SMTP server as they come over a real connection, and several conversations in one thread."""

import smtplib
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import pairwise
from threading import Thread
from time import monotonic
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcampaign.delivery.smtp_drive import WRITE, Conversation, Pause, done_elsewhere, drive
from mmcampaign.delivery.smtp_wire import LONGEST_LINE, MOST_LINES, Wire

PATIENCE = 20.0  # seconds, where nothing is to be waited for
SHORT = 0.2  # seconds, where waiting is what happens


@contextmanager
def connection() -> Iterator[tuple[Wire, socket.socket]]:
    """Our end of a TCP connection, and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        session = smtplib.SMTP()
        session.sock = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    wire = Wire(session)
    with theirs:
        yield wire, theirs
    wire.close()


T = TypeVar("T")


def run(conversation: Conversation[T]) -> T:
    (result,) = drive([conversation])
    return result


Reply = tuple[int, list[str]]
replies = st.tuples(st.integers(200, 599), st.lists(st.text("ab 2-.", max_size=5), min_size=1, max_size=3))


def on_the_wire(reply: Reply) -> bytes:
    code, lines = reply
    marks = ["-"] * (len(lines) - 1) + [" "]
    return "".join(f"{code}{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True)).encode()


@settings(max_examples=60)
@given(said=st.lists(replies, min_size=1, max_size=4), cuts=st.sets(st.integers(1, 60)))
def test_replies_are_the_same_however_they_are_cut(said: list[Reply], cuts: set[int]) -> None:
    data = b"".join(map(on_the_wire, said))
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]

    def speak(theirs: socket.socket) -> Conversation[None]:
        """A piece, whenever the other side may have read the one before."""
        for start, end in pairwise(places):
            theirs.sendall(data[start:end])
            yield Pause(theirs, WRITE, monotonic() + PATIENCE)

    def listen(wire: Wire) -> Conversation[list[tuple[int, bytes]]]:
        heard = []
        for _ in said:
            heard.append((yield from wire.hear(PATIENCE)))
        return heard

    with connection() as (wire, theirs):
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, heard = drive([speak(theirs), listen(wire)])
        assert heard == [(code, "\n".join(line.strip() for line in lines).encode()) for code, lines in said]
        assert not wire.has_more


NO_REPLY = {
    "silence": (b"", False),
    "the end": (b"", True),
    "no line break, then silence": (b"250 2.0.0 O", False),
    "no line break, then the end": (b"250 2.0.0 O", True),
    "the end between the lines of a reply": (b"250-one\r\n", True),
    "words": (b"fine, thanks\r\n", False),
    "a code of two digits": (b"25 0\r\n", False),
    "a code and no mark": (b"250x\r\n", False),
    "a line without an end": (b"250 " + b"x" * 4 * LONGEST_LINE, False),
    "a reply without an end": (b"250-more\r\n" * (MOST_LINES + 1), False),
    "an empty line": (b"\r\n", False),
}


@pytest.mark.parametrize(("data", "ends"), NO_REPLY.values(), ids=NO_REPLY)
def test_what_is_no_reply_has_the_code_0(data: bytes, ends: bool) -> None:
    with connection() as (wire, theirs):
        theirs.sendall(data)
        if ends:
            theirs.close()
        assert run(wire.hear(SHORT)) == (0, b"")


def test_a_reply_that_is_there_counts_however_late_one_looks() -> None:
    with connection() as (wire, theirs):
        theirs.sendall(b"250 Ok\r\n")
        assert run(wire.hear(-1)) == (250, b"Ok")


def test_what_was_said_before_the_wire_took_over_is_not_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        session = smtplib.SMTP()
        session.sock = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with theirs:
        theirs.sendall(b"250 Hello\r\n421 Closing\r\n")
        assert session.getreply() == (250, b"Hello")
        wire = Wire(session)
        assert run(wire.hear(SHORT)) == (421, b"Closing")
        wire.close()


LARGE = bytes(range(256)) * 40_000  # more than both ends keep


def test_a_large_text_leaves_in_pieces_and_whole() -> None:
    received = bytearray()

    def read(theirs: socket.socket) -> None:
        while len(received) < len(LARGE):
            received.extend(theirs.recv(50_000))

    with connection() as (wire, theirs):
        reader = Thread(target=read, args=(theirs,))
        reader.start()
        assert run(wire.send(LARGE, PATIENCE)) == len(LARGE)
        reader.join()
    assert received == LARGE


@pytest.mark.parametrize("ends", [False, True], ids=["nobody reads", "the connection ends"])
def test_a_text_that_is_not_read_did_not_leave(ends: bool) -> None:
    with connection() as (wire, theirs):
        if ends:
            theirs.close()
        assert run(wire.send(LARGE, SHORT)) < len(LARGE)


def test_one_that_waits_does_not_hold_up_the_others() -> None:
    """Two wait for what only a third brings about, which has to wait itself."""
    brought: Future[str] = Future()

    def bring(wire: Wire, theirs: socket.socket) -> Conversation[str]:
        theirs.sendall(b"250 Ok\r\n")
        yield from wire.hear(PATIENCE)
        brought.set_result("here")
        return "brought"

    def wait_in_vain(wire: Wire) -> Conversation[str]:
        assert (yield from wire.hear(SHORT)) == (0, b"")
        return brought.result(timeout=0)

    with connection() as (first, _), connection() as (second, theirs):
        assert drive([done_elsewhere(brought), wait_in_vain(first), bring(second, theirs)]) == [
            "here",
            "here",
            "brought",
        ]


def test_what_one_raises_comes_out_when_the_others_are_done() -> None:
    done = []

    def fail(wire: Wire) -> Conversation[None]:
        yield from wire.send(b"QUIT", SHORT)
        raise RuntimeError("a bug")

    def go_on(wire: Wire) -> Conversation[None]:
        done.append((yield from wire.hear(SHORT)))

    with connection() as (wire, _), pytest.raises(RuntimeError, match="a bug"):
        drive([fail(wire), go_on(wire)])
    assert done == [(0, b"")]


def test_an_opening_that_fails_raises_where_it_is_waited_for() -> None:
    future: Future[None] = Future()
    future.set_exception(ConnectionRefusedError())
    with pytest.raises(ConnectionRefusedError):
        run(done_elsewhere(future))
