"""Use case: the findings of a planned campaign, frozen with it so that its approval looks at them and computes nothing.

They are made from the frozen shapes, which is what people will get. They follow from what the fingerprint covers and
are no part of it.
"""

import json
from collections.abc import Iterator

from sqlalchemy import Connection

from mmcampaign.acceptances import reasons, with_reasons
from mmcampaign.app import App
from mmcampaign.checking import Sample, found_in, left_aside
from mmcampaign.checks import limits
from mmcampaign.context import token_values
from mmcampaign.findings import freeze_into
from mmcampaign.frozen import to_json
from mmcampaign.store import campaigns
from mmcampaign.store.campaigns import Campaign
from mmcampaign.store.contexts import get_context


def freeze(app: App, connection: Connection, campaign: Campaign) -> Campaign:
    """Check what was planned and keep what was found with the campaign, in the caller's transaction."""
    program = app.program(campaign.program)
    template = app.merger().load(program.template, subject=program.subject)
    found = found_in(app, template, list(_samples(connection, campaign)))
    found = tuple(with_reasons(found, reasons(connection, program.code, template.digest)))
    not_checked = left_aside(len(campaigns.shape_counts(connection, campaign.id)))
    settings = freeze_into(campaign.settings, found, not_checked)
    campaigns.complete_plan(
        connection,
        campaign.id,
        settings=to_json(settings),
        fingerprint=campaign.fingerprint,
        chosen=campaign.chosen,
        excluded=campaign.excluded,
    )
    frozen = campaigns.get_campaign(connection, campaign.id)
    assert frozen is not None
    return frozen


def _samples(connection: Connection, campaign: Campaign) -> Iterator[Sample]:
    """Each frozen shape with the values of its first message, the most frequent ones first."""
    counts = campaigns.shape_counts(connection, campaign.id)
    for digest, learners, row_id in counts[: limits.SHAPES_CHECKED]:
        row = campaigns.get_message(connection, row_id)
        yield Sample(
            shape=campaigns.get_shape(connection, digest),
            context=get_context(connection, row.context_digest),
            personal=token_values(json.loads(row.personal), row.unsubscribe_url),
            learners=learners,
        )
