"""What a person does with a campaign, in one call each, and what can be seen of it afterwards."""

from typing import Any

from sqlalchemy import Row

from mmcampaign.campaigns import approve
from mmcampaign.model import Outcome, Receipt
from mmcampaign.planning import PlanRequest, plan
from mmcampaign.sending import Run, SendRequest, send
from mmcampaign.store import audit, outbox
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.tables import messages, whole_messages
from tests.worlds import (
    TestApp,
)

# The service cannot be reached at all.
DOWN = Receipt(message_id="", outcome=Outcome.NOT_TAKEN, error="connection refused", halt=True)


def address(number: int) -> str:
    return f"learner{number}@mail.example"


def planned(app: TestApp, **request: Any) -> Campaign:
    return plan(
        app, PlanRequest(**{"program": "river", "name": "June", **request}), lambda _connection, _campaign: None
    )


def approved(app: TestApp, **request: Any) -> Campaign:
    return approve(app, planned(app, **request).id)


def go(app: TestApp, campaign: Campaign, **request: Any) -> tuple[Campaign, Run]:
    """Send, confirming whatever is asked; waiting moves the clock."""
    stop = request.pop("stop", None) or app.clock
    confirm = request.pop("confirm", lambda _campaign, _number: None)
    on_progress = request.pop("on_progress", lambda _run: None)
    chosen = SendRequest(campaign=campaign.id, **request)
    return send(app, chosen, confirm=confirm, on_progress=on_progress, stop=stop)


def open_counts(campaign: Campaign) -> dict[str, int]:
    assert sum(campaign.ledger.values()) == campaign.chosen
    return {status: number for status, number in campaign.ledger.items() if number}


def rows(app: TestApp, campaign: Campaign) -> list[Row[Any]]:
    with app.store.read() as connection:
        found = whole_messages.where(messages.c.campaign_id == campaign.id).order_by("learner_id")
        return list(connection.execute(found))


def acts(app: TestApp) -> list[str]:
    with app.store.read() as connection:
        assert audit.first_broken(connection) is None
        return [entry["act"] for entry in audit.entries(connection)]


def kill_during(app: TestApp, campaign: Campaign, *, provider: str = "memory", hand_over: bool = False) -> list[Any]:
    """Leave two messages as a killed process does: claimed, with or without the hand-over, nothing recorded."""
    go(app, campaign, limit=1, backend="" if provider == "memory" else provider)
    with app.store.write() as connection:
        claimer = outbox.Claimer(by="dead:1", provider=provider, now=app.clock(), today=app.today)
        claimed = outbox.claim(connection, campaign.id, claimer, size=2)
    if hand_over:
        folder = app.settings.delivery.file.dir / str(campaign.id)
        (folder / f"{claimed[0].message_id}.eml").write_bytes(b"Subject: handed over\r\n\r\n")
    return claimed
