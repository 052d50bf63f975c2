"""A claimed message as a backend gets it: made from what was frozen, the same from the same claim each time."""

from mmcampaign.context import own_name
from mmcampaign.mime import Composer, ascii_address, require_writable
from mmcampaign.model import Outgoing, Sender, Shape
from mmcampaign.shapes import Filler
from mmcampaign.store.outbox import Claimed


class Maker:
    """Makes the messages of one shape in a campaign, as ``whole`` emails or for a provider that writes them itself."""

    def __init__(self, shape: Shape, sender: Sender, campaign: int, *, whole: bool) -> None:
        self._shape, self._campaign = shape, campaign
        self._composer = Composer(shape, sender) if whole else None
        self._domain = sender.email.rpartition("@")[2]
        names = {field: own_name(field) for field in Filler(shape).fields}
        self._own = {field: name for field, name in names.items() if name is not None}
        self._links = [field for field, name in names.items() if name is None]

    def outgoing(self, message: Claimed) -> Outgoing:
        """The message. Raises ``ValueError`` when an address, link or id could not stand in a mail header."""
        personal, link = message.personal, message.unsubscribe_url
        values = {field: personal[name] for field, name in self._own.items()}
        for field in self._links:
            values[field] = link
        name, to_email = personal["name"], ascii_address(message.email)
        eml = b""
        if self._composer is None:
            require_writable(message.message_id, to_email, link)
        else:
            eml = self._composer.compose(
                message_id=message.message_id,
                to_name=name,
                to_email=message.email,
                subject=message.subject,
                values=values,
                unsubscribe_url=link,
                dated_at=message.claimed_at,
                domain=self._domain,
            )
        return Outgoing(
            message.message_id, self._campaign, name, to_email, message.subject, link, values, self._shape, eml
        )
