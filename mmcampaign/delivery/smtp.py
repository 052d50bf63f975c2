"""The ``smtp`` backend: a few kept-open connections, each driven by a thread, one recipient a message."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

from mmcampaign.delivery import SmtpOptions, is_this_machine
from mmcampaign.delivery.smtp_link import Link
from mmcampaign.delivery.smtp_open import CannotOpenError
from mmcampaign.errors import ConfigError
from mmcampaign.model import Batch, Outcome, Outgoing, Receipt

# A connection that got no proper answer so often in a row leaves the rest of the batch alone.
SILENCES = 3


class _Run:
    """A batch in work: who still waits, what is known, and what stands in the way."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.waiting = deque(batch.messages)
        self.receipts: dict[str, Receipt] = {}
        self.trouble = ""
        self.stopped = False  # what stands in the way concerns every message
        self.unreachable = False  # some connection could not be opened, for a reason that will last

    def next(self) -> Outgoing | None:
        try:
            return None if self.stopped else self.waiting.popleft()
        except IndexError:
            return None

    def settle(self, receipt: Receipt) -> None:
        self.receipts[receipt.message_id] = receipt
        if receipt.halt:
            self.stop(receipt.error)

    def put_back(self, message: Outgoing, error: CannotOpenError) -> None:
        self.waiting.appendleft(message)
        self.trouble = self.trouble if self.stopped else error.sentence
        self.unreachable = self.unreachable or error.halt

    def stop(self, trouble: str) -> None:
        self.trouble, self.stopped = trouble, True

    def answer(self) -> list[Receipt]:
        """All receipts in order. Messages that nobody began were not taken; if none was, going on is useless."""
        self.stopped = self.stopped or (self.unreachable and not self.receipts)
        return [self.receipts.get(message.message_id) or self._left(message) for message in self.batch.messages]

    def _left(self, message: Outgoing) -> Receipt:
        return Receipt(message_id=message.message_id, outcome=Outcome.NOT_TAKEN, error=self.trouble, halt=self.stopped)


class SmtpBackend:
    """Hands messages to one mail server over up to ``connections`` connections at a time."""

    name = "smtp"

    def __init__(self, options: SmtpOptions) -> None:
        """ConfigError when the login is incomplete or the password would travel in the clear."""
        _check_login(options)
        self.batch_size = 5 * options.connections  # few: what a crash leaves unsettled here, a person must settle
        self._links = [Link(options) for _ in range(options.connections)]
        self._threads: ThreadPoolExecutor | None = None

    def deliver(self, batch: Batch) -> list[Receipt]:
        """Hand over; Ctrl-C lets what is in flight finish and leaves the rest untouched."""
        run = _Run(batch)
        self._threads = self._threads or ThreadPoolExecutor(len(self._links), thread_name_prefix="smtp")
        links = self._links[: len(batch.messages)]
        interrupted = False
        while links and run.waiting and not run.stopped:
            at_work = {link: self._threads.submit(_work, link, run) for link in links}
            try:
                wait(at_work.values())
            except KeyboardInterrupt:
                interrupted = True
                run.stop("Stopped by Ctrl-C before it was handed over.")
                wait(at_work.values())
            links = [link for link, task in at_work.items() if task.result()]
        return [replace(receipt, halt=True) for receipt in run.answer()] if interrupted else run.answer()

    def proof(self, message_id: str) -> Outcome | None:
        """Mail servers keep no record that we could ask."""
        return None

    def close(self) -> None:
        """End the connections and threads."""
        for link in self._links:
            link.close()
        if self._threads:
            self._threads.shutdown()
        self._threads = None


def _work(link: Link, run: _Run) -> bool:
    """Hand over message after message. False when the connection is no good: what is left is for the others."""
    link.silences = 0
    while message := run.next():
        try:
            run.settle(link.send(message, run.batch.sender))
        except CannotOpenError as error:
            run.put_back(message, error)
            return False
        if link.silences >= SILENCES:
            run.trouble = run.trouble or "The mail server keeps ending the connection or does not answer."
            return False
    return True


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
