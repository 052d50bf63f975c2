"""Messages: the standard parser reads back exactly what was put in, whatever was put in."""

import email
import email.policy
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmcampaign.mime import Composer, Letters, mailbox, quoted_printable, require_writable, unstructured
from mmcampaign.model import Sender, Shape
from mmcampaign.shapes import Place, Token, clean, escape, one_line

SENDER = Sender(name="UQx Updates", email="business@uqx.uq.edu.au", reply_to="help@uqx.uq.edu.au")
UNSUBSCRIBE = "https://mail.example.edu/u/" + "a" * 120
DATED_AT = datetime(2027, 1, 20, 9, 30, tzinfo=UTC)
HEADERS = [
    "From",
    "Reply-To",
    "List-Unsubscribe-Post",
    "Auto-Submitted",
    "Precedence",
    "MIME-Version",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "X-MMCampaign-Message",
    "List-Unsubscribe",
    "Content-Type",
]
HOSTILE = {
    "header injection": "Ann\r\nBcc: everyone@example.org\r\n\r\nHi",
    "lone line feed": "Ann\nX-Evil: 1",
    "quotes": 'Ann "The Boss" O\'Neil',
    "backslash": "Ann \\ Lee\\",
    "commas": "Lee, Ann, Dr.",
    "address": "Ann <ann@evil.example>, Bob <bob@evil.example>",
    "300 characters": "Annabella " * 30,
    "300 letters": "a" * 300,
    "Chinese": "欧阳 娜娜" * 20,
    "emoji": "Ann 👩‍🎓🎉",
    "right to left": "محمد علي",
    "override": "\u202eeeL nnA",
    "Jinja": "{{ 7 * 7 }}{% raw %}",
    "script": "<script>alert(1)</script>",
    "encoded-word": "=?utf-8?q?Bcc:_x?=",
    "separators": "Ann\u2028Lee\u2029\x85\x0b\x0c",
    "empty": "",
    "spaces": "   ",
    "group": "Undisclosed: a;",
    "comment": "Ann (Lee)",
    "accents": "Zoë Ångström-Müller",
    "nul": "Ann\x00Lee",
}
names = pytest.mark.parametrize("name", [pytest.param(name, id=what) for what, name in HOSTILE.items()])


def token(field: str, place: Place) -> str:
    return Token(field=field, place=place).text


def shape(text: str, html: str) -> Shape:
    return Shape(digest="ab" * 32, subject="", text=text, html=html)


def compose(
    *,
    text: str = "Hello\n",
    html: str = "<p>Hello</p>\n",
    values: dict[str, str] | None = None,
    sender: Sender = SENDER,
    **changed: Any,
) -> bytes:
    facts: dict[str, Any] = {
        "message_id": "m-1",
        "to_name": "Ann Lee",
        "to_email": "ann@example.org",
        "subject": "You passed",
        "values": values or {},
        "unsubscribe_url": UNSUBSCRIBE,
        "dated_at": DATED_AT,
    } | changed
    return Composer(shape(text, html), sender).compose(**facts)


def parse(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert not message.defects
    return message


def part(message: EmailMessage, kind: str) -> str:
    content = message.get_body((kind,))
    assert content is not None
    assert not content.defects
    payload = content.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def recipients(raw: bytes) -> list[tuple[str, str]]:
    """Names and addresses in To, by RFC 2047 6.2. The structured parser of Python 3.11 puts a space between adjacent
    encoded-words of a phrase; this older one follows the rule."""
    header = email.message_from_bytes(raw, policy=email.policy.compat32)["To"].replace("\r\n", "")
    return [(str(make_header(decode_header(name))), address) for name, address in getaddresses([header])]


def assert_on_the_wire(raw: bytes) -> None:
    assert raw.isascii()
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert max(map(len, head.split(b"\r\n"))) <= 998
    assert max(map(len, body.split(b"\r\n"))) <= 76
    assert [line for line in body.split(b"\r\n") if line.startswith((b".", b"From "))] == []


def test_every_header_stands_once() -> None:
    message = parse(compose())
    assert message.keys() == HEADERS
    assert message["List-Unsubscribe"] == f"<{UNSUBSCRIBE}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Message-ID"] == "<m-1@uqx.uq.edu.au>"
    assert message["X-MMCampaign-Message"] == "m-1"
    assert message["From"] == "UQx Updates <business@uqx.uq.edu.au>"
    assert message["Reply-To"] == "help@uqx.uq.edu.au"
    assert message["Date"].datetime == datetime(2027, 1, 20, 9, 30, tzinfo=UTC)
    assert message["Auto-Submitted"] == "auto-generated"


def test_the_parts_are_text_then_html() -> None:
    message = parse(compose(text="Hello\n", html="<p>Hello</p>\n"))
    assert message.get_content_type() == "multipart/alternative"
    assert [(p.get_content_type(), p.get_content_charset()) for p in message.iter_parts()] == [
        ("text/plain", "utf-8"),
        ("text/html", "utf-8"),
    ]


def test_the_unsubscribe_address_is_on_one_unbroken_line() -> None:
    assert f"\r\nList-Unsubscribe: <{UNSUBSCRIBE}>\r\n".encode() in compose()


def test_the_same_message_is_the_same_bytes() -> None:
    assert compose(to_name="Zoë") == compose(to_name="Zoë")


@names
def test_no_name_adds_a_header_or_a_recipient(name: str) -> None:
    raw = compose(to_name=name)
    assert_on_the_wire(raw)
    message = parse(raw)
    assert message.keys() == HEADERS
    assert [address.addr_spec for address in message["To"].addresses] == ["ann@example.org"]
    assert recipients(raw) == [(one_line(name), "ann@example.org")]


@names
def test_no_subject_adds_a_header(name: str) -> None:
    raw = compose(subject=f"Well done {name}")
    assert_on_the_wire(raw)
    message = parse(raw)
    assert message.keys() == HEADERS
    assert message["Subject"] == one_line(f"Well done {name}")


@names
def test_values_come_out_of_both_parts_as_they_went_in(name: str) -> None:
    raw = compose(
        text=f"Hello {token('learner.name', Place.TEXT)}, welcome\n",
        html=f"<p>Hello {token('learner.name', Place.HTML)}</p>",
        values={"learner.name": name},
    )
    assert_on_the_wire(raw)
    message = parse(raw)
    assert part(message, "plain") == f"Hello {clean(name)}, welcome\n"
    assert part(message, "html") == f"<p>Hello {escape(clean(name))}</p>"


@given(st.text(), st.text())
def test_any_name_and_subject_come_back(name: str, subject: str) -> None:
    raw = compose(to_name=name, subject=subject)
    assert_on_the_wire(raw)
    message = parse(raw)
    assert message.keys() == HEADERS
    assert recipients(raw) == [(one_line(name), "ann@example.org")]
    assert message["Subject"] == one_line(subject)


texts = st.text(alphabet=st.one_of(st.sampled_from(" .=\n\tFrom é😀"), st.characters(exclude_categories=["Cs"])))


@given(st.lists(st.one_of(texts, st.sampled_from(["learner.name", "unsubscribe_url"]))), texts, texts)
@example(["line with a space at its end \n", ".\n", "..\n", "From me\n", "a=b=3D\n", "\t"], "", "")
@example(["x" * 200, "learner.name", "é" * 100, "learner.name"], "y" * 5000, "=" * 100)
@example(["lone\rcarriage return\r\nand both\n", "learner.name", "\n", "learner.name"], ".", "From ")
def test_any_body_comes_back(pieces: list[str], name: str, url: str) -> None:
    values = {"learner.name": name, "unsubscribe_url": url}
    text = "".join(token(piece, Place.TEXT) if piece in values else piece for piece in pieces)
    plain = "".join(clean(values[piece]) if piece in values else piece for piece in pieces)
    raw = compose(text=text, html="<p></p>", values=values)
    assert_on_the_wire(raw)
    assert part(parse(raw), "plain") == plain.replace("\r\n", "\n").replace("\r", "\n")


# What makes the look at all of them at once find something, or should not: ends, starts, what stands between them.
edgy = st.lists(st.sampled_from(["Ann", " ", ".", "From ", "|", "=", "é", '"', "=?", "x" * 73]), max_size=3)
persons = st.tuples(edgy.map("".join) | st.text(max_size=5), edgy.map("".join), st.sampled_from(["Hi", "Zoë passed"]))


@given(st.lists(persons, min_size=1, max_size=5))
@example([("Ann", "x" * 73, "Hi"), ("Ann Lee", "y" * 74, "Hi")])
@example([("Ann", "|", "Hi"), ("Ann", ".", "Hi")])
def test_many_are_written_as_one_by_one(people: list[tuple[str, str, str]]) -> None:
    names, values, subjects = map(list, zip(*people, strict=True))
    addresses = [f"ann{place}@{'exämple' if 'é' in name else 'example'}.org" for place, name in enumerate(names)]
    ids, dates = [f"m-{place}" for place in range(len(people))], [DATED_AT] * len(people)
    html = f"<p>{token('learner.name', Place.HTML)}</p> {token('learner.name', Place.HTML)}"
    composer = Composer(shape(f"{token('learner.name', Place.TEXT)}, hello", html), SENDER)
    written = composer.compose_all(
        Letters(ids, names, addresses, subjects, [UNSUBSCRIBE] * len(people), dates, {"learner.name": values})
    )
    assert written == [
        composer.compose(
            message_id=message_id,
            to_name=name,
            to_email=address,
            subject=subject,
            values={"learner.name": value},
            unsubscribe_url=UNSUBSCRIBE,
            dated_at=DATED_AT,
        )
        for message_id, address, (name, value, subject) in zip(ids, addresses, people, strict=True)
    ]
    for raw in written:
        assert_on_the_wire(raw)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        pytest.param("a b", "a b", id="plain"),
        pytest.param("a ", "a=20", id="space at the end"),
        pytest.param("a \nb\t", "a=20\r\nb=09", id="space at the end of a line"),
        pytest.param(".", "=2E", id="dot alone"),
        pytest.param(".net", "=2Enet", id="dot at the start"),
        pytest.param("From me", "=46rom me", id="From at the start"),
        pytest.param("For me", "For me", id="another word with F"),
        pytest.param("1=1", "1=3D1", id="equals sign"),
        pytest.param("é", "=C3=A9", id="two bytes"),
        pytest.param("a\r\nb\rc\nd", "a\r\nb\r\nc\r\nd", id="line ends"),
        pytest.param("x" * 74, "x" * 73 + "=\r\nx", id="long line"),
        pytest.param("Zq7tlearner0name7qZ", "Zq7tlearner0name7qZ", id="token alone"),
        pytest.param("Hi Zq7tlearner0name7qZ!", "Hi=20=\r\nZq7tlearner0name7qZ=\r\n!", id="token in a line"),
    ],
)
def test_quoted_printable(text: str, encoded: str) -> None:
    assert quoted_printable(text) == encoded


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        pytest.param("x" * 73, "x" * 73, id="fills its line"),
        pytest.param("x" * 74, "x" * 73 + "=\r\nx", id="too long for it"),
        pytest.param(".net", "=2Enet", id="dot at the start"),
        pytest.param("From me", "=46rom me", id="From at the start"),
        pytest.param("a.b|From c |d", "a.b|From c |d", id="none of it at the start"),
        pytest.param("1=1", "1=3D1", id="equals sign"),
        pytest.param("Zoë", "Zo=C3=AB", id="two bytes"),
    ],
)
def test_a_value_stands_between_two_soft_breaks(value: str, encoded: str) -> None:
    raw = compose(text=f"Hi {token('learner.name', Place.TEXT)}!", values={"learner.name": value})
    assert f"\r\n\r\nHi=20=\r\n{encoded}=\r\n!\r\n".encode() in raw


@pytest.mark.parametrize(
    ("name", "written"),
    [
        pytest.param("", "a@b.org", id="no name"),
        pytest.param("Ann Lee", "Ann Lee <a@b.org>", id="atoms"),
        pytest.param("Ann B. Lee", '"Ann B. Lee" <a@b.org>', id="dot"),
        pytest.param('A "B" \\', '"A \\"B\\" \\\\" <a@b.org>', id="quotes"),
        pytest.param("Zoë", "=?utf-8?b?Wm/Dqw==?=\r\n <a@b.org>", id="accent"),
    ],
)
def test_mailbox(name: str, written: str) -> None:
    assert mailbox(name, "a@b.org") == written


def test_a_long_subject_folds_at_spaces_and_stays_readable() -> None:
    subject = "You passed Low Emission Technologies and Supply Systems: one step to your certificate"
    assert unstructured(subject).replace("\r\n", "") == subject
    assert max(map(len, f"Subject: {unstructured(subject)}".split("\r\n"))) <= 78


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param({"to_email": "ann@example.org\r\nBcc: x@y.z"}, id="line break in the address"),
        pytest.param({"to_email": "ann@example.org>, <x@y.z"}, id="two addresses"),
        pytest.param({"to_email": "zoë@example.org"}, id="local part not ASCII"),
        pytest.param({"to_email": "ann@ü..org"}, id="impossible domain"),
        pytest.param({"to_email": ""}, id="no address"),
        pytest.param({"unsubscribe_url": "https://x.y/a b"}, id="space in the URL"),
        pytest.param({"unsubscribe_url": "https://x.y/>"}, id="bracket in the URL"),
        pytest.param({"unsubscribe_url": ""}, id="no URL"),
        pytest.param({"unsubscribe_url": "https://x.y/" + "a" * 1000}, id="URL too long for a line"),
        pytest.param({"message_id": "m 1"}, id="space in the id"),
        pytest.param({"sender": SENDER._replace(email="a@b>c.org")}, id="bracket in the sender's domain"),
        pytest.param({"dated_at": datetime(2027, 1, 20)}, id="no time zone"),
    ],
)
def test_what_cannot_stand_in_a_header_is_refused(fact: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot stand in a mail header|needs a time zone"):
        compose(**fact)


def test_an_international_domain_is_written_in_ascii() -> None:
    assert parse(compose(to_email="ann@exämple.org"))["To"].addresses[0].addr_spec == "ann@xn--exmple-cua.org"


def test_a_sender_may_have_a_name_in_any_script() -> None:
    message = parse(compose(sender=Sender(name="Université de Montréal, UQx", email="a@b.org")))
    assert message["From"].addresses[0].display_name == "Université de Montréal, UQx"
    assert message["Reply-To"] is None


FINE = ("00ff", "a@b.example", "https://x.example/u/1")


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        pytest.param(("00 ff", *FINE[1:]), "message id", id="the id"),
        pytest.param((FINE[0], "a b@c.example", FINE[2]), "address", id="the address"),
        pytest.param((*FINE[:2], "javascript:alert(1)"), "unsubscribe address", id="the link"),
        pytest.param(
            (FINE[0], "a@b.example\n00aa\nhttps://y.example\nc@d.example", FINE[2]), "address", id="a row more"
        ),
        pytest.param((FINE[0], "a@b.example\n", FINE[2]), "address", id="a line end"),
        pytest.param((FINE[0], "", FINE[2]), "address", id="nothing"),
    ],
)
def test_one_message_that_cannot_be_written_is_found_among_many(broken: tuple[str, str, str], what: str) -> None:
    require_writable(*map(list, zip(*[FINE] * 5, strict=True)))
    with pytest.raises(ValueError, match=f"the {what} cannot stand in a mail header"):
        require_writable(*map(list, zip(*[FINE] * 2, broken, FINE, strict=True)))
