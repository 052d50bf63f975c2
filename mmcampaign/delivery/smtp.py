"""The ``smtp`` backend: a few kept-open connections, all driven by one thread, one recipient a message."""

from functools import partial

from mmcampaign.delivery import SmtpOptions, is_this_machine, most_in_one_batch
from mmcampaign.delivery.crew import Crew, Run
from mmcampaign.delivery.smtp_drive import Conversation, drive
from mmcampaign.delivery.smtp_link import Link
from mmcampaign.delivery.smtp_open import CannotOpenError, open_connection, tls_context
from mmcampaign.errors import ConfigError
from mmcampaign.model import Batch, Outcome, Receipt


class SmtpBackend:
    """Hands messages to one mail server over up to ``connections`` connections at a time."""

    name = "smtp"

    def __init__(self, options: SmtpOptions) -> None:
        """ConfigError when the login is incomplete or the password would travel in the clear."""
        _check_login(options)
        self.batch_size = most_in_one_batch(options)
        self._crew = Crew(options.connections, "smtp")
        open_session = partial(self._crew.submit, open_connection, options, tls_context(options))
        self._links = [Link(options, open_session) for _ in range(options.connections)]

    def deliver(self, batch: Batch) -> list[Receipt]:
        """Hand over; Ctrl-C lets what is in flight finish and leaves the rest untouched."""
        return self._crew.deliver(batch, self._work)

    def proof(self, message_id: str) -> Outcome | None:
        """Mail servers keep no record that we could ask."""
        return None

    def close(self) -> None:
        """End the connections and threads."""
        drive(link.close() for link in self._links)
        self._crew.close()

    def _work(self, run: Run) -> None:
        """A message that one connection put back is for those that are still good."""
        able = self._links[: len(run.batch.messages)]
        while able and run.waits:
            good = drive(_hand_over(link, run) for link in able)
            able = [link for link, is_good in zip(able, good, strict=True) if is_good]


def _hand_over(link: Link, run: Run) -> Conversation[bool]:
    """Message after message. False when the connection is no good: what is left is for the others."""
    try:
        if (yield from link.work(run, run.batch.sender)):
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
