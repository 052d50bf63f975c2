"""What a running sender looks out for between two messages, and how it waits for its turn.

It stops for Ctrl-C, for a pause or cancellation by another process, and at the end of the send window. Whatever it
waits for, it notices these within ``LOOK_SECONDS``.
"""

from contextlib import suppress
from datetime import datetime
from threading import Event, Lock

from sqlalchemy import Connection

from mmcampaign.app import App
from mmcampaign.model import CampaignState
from mmcampaign.pace import steady
from mmcampaign.send_window import SendWindow
from mmcampaign.store import campaigns, throttle

LOOK_SECONDS = 0.5
REACH_NOBODY = ("file", "memory")  # backends that neither rate nor hours hold back


class Watch:
    """Says why to stop, if there is a reason. May be asked from several threads."""

    def __init__(self, app: App, campaign: int, stop: Event, window: SendWindow | None) -> None:
        self._app, self._campaign, self._stop, self._window = app, campaign, stop, window
        self._looking = Lock()
        self._next_look = steady() + LOOK_SECONDS
        self.decided = ""  # what a person decided about the campaign meanwhile, as a sentence

    def reason(self) -> str:
        """Why no further message may be begun; empty: none. Asks the database every half second at most."""
        if steady() >= self._next_look and self._looking.acquire(blocking=False):
            try:
                self.look()
            finally:
                self._looking.release()
        return self.decided or ("Stopped by Ctrl-C." if self._stop.is_set() else self.closed())

    def look(self) -> None:
        """Read from the database what was decided; one that does not answer is found out when results are recorded."""
        with suppress(Exception), self._app.store.read() as connection:
            self.decided = decision(*campaigns.state_of(connection, self._campaign))
        self._next_look = steady() + LOOK_SECONDS

    def closed(self) -> str:
        """When the send window opens again, as a sentence; empty while it is open."""
        opens = opening(self._app, self._window)
        return f"The send window is closed; it opens on {opens:%A, %d %B at %H:%M}." if opens else ""

    def wait(self, seconds: float) -> bool:
        """Wait for so long, or until there is a reason to stop; whether to go on."""
        while seconds > 0 and not self.reason():
            step = min(seconds, LOOK_SECONDS)
            self._stop.wait(step)
            seconds -= step
        return not self.reason()

    def wait_for_opening(self) -> bool:
        """Wait until the send window is open; whether to go on."""
        while self.closed() and not self.decided and not self._stop.is_set():
            self._stop.wait(LOOK_SECONDS)
            self.look()
        return not self.reason()


def decision(state: CampaignState, pause_reason: str, paused_by: str) -> str:
    """What was decided about a campaign while it was being sent, as a sentence; empty: nothing."""
    if state is CampaignState.CANCELLED:
        return "The campaign was cancelled."
    if state is not CampaignState.PAUSED:
        return ""
    return f"The campaign was paused{f' by {paused_by}' if paused_by else ''}: {pause_reason}."


def opening(app: App, window: SendWindow | None) -> datetime | None:
    """When the send window opens, in the site's time zone; None while it is open or when there is none."""
    if window is None:
        return None
    here = app.clock().astimezone(app.settings.site.zone)
    return None if window.is_open(here) else window.next_opening(here)


class Turns:
    """This sender's turns on the line of time that it shares with all others of its backend."""

    def __init__(self, app: App, backend: str) -> None:
        self._app, self._backend = app, backend
        self._free = backend in REACH_NOBODY
        self._per_second = app.settings.mail.rate_per_second
        self._left = 0  # slots that have begun, or begin at
        self._begins = 0.0

    def take(self, connection: Connection, wanted: int) -> int:
        """How many of the wanted messages may go now; slots are booked if none are left. 0: ``wait`` first."""
        if self._free:
            return wanted
        if not self._left:
            slots = throttle.take_slots(connection, self._backend, wanted, per_second=self._per_second)
            self._left, self._begins = slots.count, steady() + slots.wait if slots.wait else 0.0
        return 0 if self._begins else min(wanted, self._left)

    def wait(self, watch: Watch) -> bool:
        """Wait for slots that are booked, if there are any; whether there were. A reason to stop gives them up."""
        if not self._begins:
            return False
        if not watch.wait(self._begins - steady()):
            self._left = 0
        self._begins = 0.0
        return True

    def used(self, count: int) -> None:
        """So many went; slots that are left over serve the next ones, which are of another shape."""
        self._left -= min(count, self._left)

    def lost(self) -> None:
        """There was nothing to send in the slots: they are over."""
        self._left, self._begins = 0, 0.0

    def slow_down(self, retry_after: float | None) -> None:
        """The provider wants fewer messages: tell all senders."""
        self.lost()
        if not self._free:
            with self._app.store.write(patient=True) as connection:
                throttle.slow_down(connection, self._backend, retry_after)
