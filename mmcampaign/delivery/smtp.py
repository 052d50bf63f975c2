"""The ``smtp`` backend: a few kept-open connections, each driven by a thread, one recipient a message."""

from functools import partial

from mmcampaign.delivery import SmtpOptions, is_this_machine
from mmcampaign.delivery.crew import Crew, Run
from mmcampaign.delivery.smtp_link import Link
from mmcampaign.delivery.smtp_open import CannotOpenError, tls_context
from mmcampaign.errors import ConfigError
from mmcampaign.model import Batch, Outcome, Receipt


class SmtpBackend:
    """Hands messages to one mail server over up to ``connections`` connections at a time."""

    name = "smtp"

    def __init__(self, options: SmtpOptions) -> None:
        """ConfigError when the login is incomplete or the password would travel in the clear."""
        _check_login(options)
        self.batch_size = options.connections * options.batch
        context = tls_context(options)
        self._links = [Link(options, context) for _ in range(options.connections)]
        self._crew = Crew(options.connections, "smtp")

    def deliver(self, batch: Batch) -> list[Receipt]:
        """Hand over; Ctrl-C lets what is in flight finish and leaves the rest untouched."""
        return self._crew.deliver(batch, [partial(_work, link) for link in self._links])

    def proof(self, message_id: str) -> Outcome | None:
        """Mail servers keep no record that we could ask."""
        return None

    def close(self) -> None:
        """End the connections and threads."""
        for link in self._links:
            link.close()
        self._crew.close()


def _work(link: Link, run: Run) -> bool:
    """Hand over message after message. False when the connection is no good: what is left is for the others."""
    try:
        if link.work(run, run.batch.sender):
            return True
    except CannotOpenError as error:
        run.give_up(error.sentence, lasting=error.halt, slower=error.slower)
        return False
    run.give_up("The mail server keeps ending the connection or does not answer.")
    return False


def _check_login(options: SmtpOptions) -> None:
    if not options.username:
        return
    if not options.password:
        raise ConfigError(
            "[delivery.smtp] has a username, but no password is set.",
            todo="Set the environment variable MMCAMPAIGN_SMTP_PASSWORD.",
        )
    if not (options.username + options.password).isascii():
        raise ConfigError("The SMTP user name and password must be ASCII; logging in knows no other letters.")
    if options.security == "none" and not is_this_machine(options.host):
        raise ConfigError(
            "The SMTP password would travel unencrypted.", todo='Set [delivery.smtp] security to "starttls" or "tls".'
        )
