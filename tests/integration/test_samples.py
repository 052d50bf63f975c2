"""Samples for staff: what arrives through every backend, what is refused, and that no learner's log sees it."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from mmcampaign.campaigns import cancel
from mmcampaign.errors import InputError, MmcampaignError, RefusedError, UnavailableError
from mmcampaign.model import MessageStatus, Outcome
from mmcampaign.samples import SampleRequest, send_samples
from mmcampaign.store import audit
from mmcampaign.store.engine import Store
from mmcampaign.store.tables import merge_values, messages
from mmcampaign.testing import MemoryBackend
from tests.builders import certified, make_candidate, make_learner
from tests.contract.rigs import RIGS, Rig, read_eml
from tests.steps import acts, approved, go, open_counts, planned
from tests.worlds import TestApp, fill, make_app, on_sqlite, people, suppress, write_template

STAFF = ("kim@uni.example", "jo@uni.example")
NOBODYS = "https://mail.nx.example/u/preview"


@pytest.fixture
def river(store: Store, tmp_path: Path) -> TestApp:
    """Three learners to upgrade and one to go on: two shapes, and one more for who has no name."""
    someone = make_candidate(certified(1), learner=make_learner(8, name="Bo Ek"))
    nameless = make_candidate(learner=make_learner(9, name=""))
    fill(store, [*people(3), someone, nameless])
    return make_app(store, tmp_path)


@pytest.fixture(params=["file", "smtp", "sendgrid"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        built = RIGS[request.param](stack, tmp_path)
        stack.enter_context(closing(built.backend))
        stack.enter_context(closing(built.down))
        yield built


def taken(app: TestApp) -> MemoryBackend:
    assert isinstance(app.swapped, MemoryBackend)
    return app.swapped


def test_samples_go_through_the_backend_before_the_approval(river: TestApp, rig: Rig) -> None:
    app = replace(river, swapped=rig.backend)
    campaign = planned(app)
    found, remark = send_samples(app, SampleRequest(campaign=campaign.id, addresses=STAFF))
    assert remark == ""
    assert [(each.shape, each.learners, each.address) for each in found] == [
        (shape, learners, address) for shape, learners in ((1, 3), (2, 1), (3, 1)) for address in STAFF
    ]
    assert {each.status for each in found} == {MessageStatus.ACCEPTED}
    mails = rig.received()
    assert sorted(mail.to_email for mail in mails) == sorted(STAFF * 3)
    for mail in mails:
        assert mail.subject.startswith("TEST: ")
        assert mail.to_name == ""
        assert mail.headers["List-Unsubscribe"] == f"<{NOBODYS}>"
        assert NOBODYS in mail.text
        assert NOBODYS in mail.html
        for part in (" ".join(mail.text.split()), mail.html):
            assert f"TEST of campaign {campaign.id}, June: shape" in part
            assert "mail.example<" not in part


def test_the_test_line_stands_on_top_of_both_parts(river: TestApp) -> None:
    send_samples(river, SampleRequest(campaign=planned(river).id, addresses=STAFF[:1]))
    mail = read_eml(taken(river).taken[0].eml)
    assert mail.text.startswith("TEST of campaign")
    assert "for 3 learners" in " ".join(mail.text.split())
    assert mail.html.index("<body") < mail.html.index("TEST of campaign") < mail.html.index("Dear")


def test_one_learner_gives_one_sample(river: TestApp) -> None:
    campaign = planned(river)
    (sample,), _ = send_samples(river, SampleRequest(campaign=campaign.id, addresses=STAFF[:1], learner="learner_8"))
    assert (sample.learners, sample.subject) == (1, "TEST: Well done: Rain")
    assert "Dear Bo Ek," in read_eml(taken(river).taken[0].eml).text


def test_learners_mail_and_its_log_know_nothing_of_samples(river: TestApp) -> None:
    campaign = approved(river)
    before = open_counts(campaign)
    send_samples(river, SampleRequest(campaign=campaign.id, addresses=STAFF))
    assert {message.campaign_id for message in taken(river).taken} == {0}
    assert all(message.message_id.startswith("test-") for message in taken(river).taken)
    with river.store.read() as connection:
        assert connection.execute(select(func.count()).select_from(messages)).scalar() == 5
    done, _ = go(river, campaign)
    assert before == {"pending": 5}
    assert open_counts(done) == {"accepted": 5}


@on_sqlite
@pytest.mark.parametrize("ended", [False, True], ids=["finished", "cancelled"])
def test_a_campaign_in_any_state_can_be_looked_at(river: TestApp, ended: bool) -> None:
    campaign = approved(river)
    if ended:
        cancel(river, campaign.id)
    else:
        go(river, campaign)
    assert send_samples(river, SampleRequest(campaign=campaign.id, addresses=STAFF[:1]))[0]


@on_sqlite
def test_the_audit_log_counts_and_names_domains_only(river: TestApp) -> None:
    campaign = planned(river)
    send_samples(river, SampleRequest(campaign=campaign.id, addresses=("kim@UNI.example", "jo@other.example")))
    assert acts(river)[-1] == "test sent"
    with river.store.read() as connection:
        entry = list(audit.entries(connection))[-1]
    assert entry["actor"] == "kim"
    assert entry["subject"] == f"campaign {campaign.id}"
    domains = ["other.example", "uni.example"]
    assert entry["facts"] == {"addresses": 2, "domains": domains, "samples": 6, "accepted": 6, "backend": "memory"}


def test_a_shape_of_one_learner_alone_does_not_hand_out_their_link(store: Store, tmp_path: Path) -> None:
    fill(store, people(1))
    app = make_app(store, tmp_path)
    write_template(tmp_path, "river/body.txt", "{{ unsubscribe_url[:99] }} {{ learner.name[::2] }}\n")
    write_template(tmp_path, "river/body.html", "<p title='{{ unsubscribe_url[:99] }}'>{{ unsubscribe_url[:99] }}</p>")
    campaign = planned(app)
    with store.read() as connection:
        url = connection.execute(select(merge_values.c.unsubscribe_url)).scalar_one()
    send_samples(app, SampleRequest(campaign=campaign.id, addresses=STAFF[:1]))
    mail = read_eml(taken(app).taken[0].eml)
    assert url not in mail.text + mail.html
    assert mail.html.count(NOBODYS) == 2


@on_sqlite
def test_a_learner_on_the_list_of_staff_is_staff(river: TestApp) -> None:
    site = river.settings.site.model_copy(update={"staff": ("@mail.example",)})
    campaign = planned(river)
    app = replace(river, settings=river.settings._replace(site=site))
    assert send_samples(app, SampleRequest(campaign=campaign.id, addresses=("LEARNER1@mail.example",)))[0]


@pytest.mark.parametrize(
    ("addresses", "learner", "error", "says"),
    [
        pytest.param((), "", InputError, "1 to 20", id="nobody"),
        pytest.param(tuple(f"a{n}@uni.example" for n in range(21)), "", InputError, "not to 21", id="too many"),
        pytest.param(("kim@uni.example", "kim"), "", InputError, "Address 2 is not an address", id="no address"),
        pytest.param(("Stop@uni.example",), "", RefusedError, "not to be mailed", id="suppressed"),
        pytest.param(("learner2@MAIL.example",), "", RefusedError, "learners'", id="a learner's"),
        pytest.param(STAFF, "nobody", InputError, "no message for this learner", id="unknown learner"),
        pytest.param(STAFF, "40", InputError, "no message for this learner", id="learner left out"),
    ],
)
@on_sqlite
def test_what_is_refused(
    river: TestApp, addresses: tuple[str, ...], learner: str, error: type[MmcampaignError], says: str
) -> None:
    fill(river.store, [make_candidate(learner=make_learner(40, email="not an address"))])
    campaign = planned(river)
    with river.store.write() as connection:
        suppress(connection, "stop@uni.example")
    with pytest.raises(error, match=says) as refused:
        send_samples(river, SampleRequest(campaign=campaign.id, addresses=addresses, learner=learner))
    assert not any(address in str(refused.value) for address in addresses)
    assert taken(river).taken == []
    assert "test sent" not in acts(river)


@on_sqlite
def test_the_same_address_twice_gets_one(river: TestApp) -> None:
    campaign = planned(river)
    found, _ = send_samples(
        river, SampleRequest(campaign=campaign.id, addresses=("kim@uni.example", "KIM@uni.example"))
    )
    assert len(found) == 3


@on_sqlite
def test_no_recipients_no_samples(store: Store, tmp_path: Path) -> None:
    fill(store, people(1, suppression="unsubscribed"))
    app = make_app(store, tmp_path)
    with pytest.raises(InputError, match="no recipients"):
        send_samples(app, SampleRequest(campaign=planned(app).id, addresses=STAFF))


@on_sqlite
def test_what_one_address_does_not_take_is_told(river: TestApp) -> None:
    app = replace(river, swapped=MemoryBackend(answers={STAFF[0]: Outcome.FAILED, STAFF[1]: Outcome.UNKNOWN}))
    campaign = planned(app)
    found, _ = send_samples(app, SampleRequest(campaign=campaign.id, addresses=(*STAFF, "bo@uni.example")))
    assert [each.status for each in found[:3]] == ["failed", "unknown", "accepted"]
    assert found[0].error == "The memory backend answered failed."


@on_sqlite
def test_a_service_that_is_down_is_told_at_once(river: TestApp) -> None:
    backend = MemoryBackend(down=True)
    app = replace(river, swapped=backend)
    with pytest.raises(UnavailableError, match=r"No sample was taken: The memory backend is down\."):
        send_samples(app, SampleRequest(campaign=planned(app).id, addresses=STAFF))
    assert len(backend.batches) == backend.closed == 1
    assert acts(app)[-1] == "test sent"


@on_sqlite
def test_of_very_many_shapes_the_most_frequent_go(store: Store, tmp_path: Path) -> None:
    fill(store, [make_candidate(learner=make_learner(number, name="A" * number)) for number in range(1, 26)])
    app = make_app(store, tmp_path)
    write_template(
        tmp_path, "river/body.txt", "{% for _ in range(learner.name | length) %}-{% endfor %} {{ unsubscribe_url }}\n"
    )
    found, remark = send_samples(app, SampleRequest(campaign=planned(app).id, addresses=STAFF[:1]))
    assert len(found) == 20
    assert remark.startswith("The 20 shapes with most learners were sent; 5 more")
