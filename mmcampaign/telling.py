"""What a provider that writes the mail itself is told of each person: made when a campaign is planned for such a one.

A send then joins what lies ready, and the log holds it word for word (decision 19). What is missing is made when it is
handed over: of a campaign that was planned for another backend, and of whoever has too many words or cannot be written.
"""

from collections.abc import Mapping

from mmcampaign.delivery import WRITES_THE_MAIL
from mmcampaign.delivery.sendgrid_body import told_beforehand
from mmcampaign.mime import ascii_address, require_writable
from mmcampaign.model import Outgoing, Sender, Shape


class Teller:
    """Collects the messages of a campaign as they are planned; for other backends it does nothing."""

    def __init__(self, backend: str, sender: Sender, campaign: int) -> None:
        self._tells, self._sender, self._campaign = backend in WRITES_THE_MAIL, sender, campaign
        self._messages: list[Outgoing] = []

    def add(
        self,
        shape: Shape,
        values: Mapping[str, str],
        *,
        message_id: str,
        name: str,
        email: str,
        subject: str,
        unsubscribe_url: str,
    ) -> None:
        """One message. ``values`` fill the tokens of its ``shape``."""
        address = ascii_address(email)
        if self._tells and _is_writable(message_id, address, unsubscribe_url):
            self._messages.append(
                Outgoing(message_id, self._campaign, name, address, subject, unsubscribe_url, values, shape)
            )

    def told(self) -> dict[str, tuple[str, str]]:
        """Of those added since the last call: what is told and the digest of it, by message id."""
        messages, self._messages = self._messages, []
        return told_beforehand(messages, self._sender)


def _is_writable(message_id: str, address: str, unsubscribe_url: str) -> bool:
    try:
        require_writable([message_id], [address], [unsubscribe_url])
    except ValueError:
        return False
    return True
