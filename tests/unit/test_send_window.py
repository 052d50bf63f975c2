"""The hours in which mail may go out, in the site's time zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.send_window import read_window

OSLO = ZoneInfo("Europe/Oslo")
MONDAY = datetime(2027, 6, 14, tzinfo=OSLO)


def at(days: int, clock: str) -> datetime:
    """So many days after a Monday."""
    hour, minute = map(int, clock.split(":"))
    return MONDAY + timedelta(days=days, hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("window", "moment", "open_"),
    [
        pytest.param("09:00-17:00", at(0, "09:00"), True, id="at the opening"),
        pytest.param("09:00-17:00", at(0, "08:59"), False, id="a minute before"),
        pytest.param("09:00-17:00", at(0, "16:59"), True, id="the last minute"),
        pytest.param("09:00-17:00", at(0, "17:00"), False, id="at the close"),
        pytest.param("09:00-17:00", at(6, "12:00"), True, id="all days when none is named"),
        pytest.param("mon-fri 09:00-17:00", at(4, "12:00"), True, id="Friday"),
        pytest.param("mon-fri 09:00-17:00", at(5, "12:00"), False, id="Saturday"),
        pytest.param("Mon, Wed,fri-sun 09:00-17:00", at(2, "12:00"), True, id="a day of a list"),
        pytest.param("Mon, Wed,fri-sun 09:00-17:00", at(1, "12:00"), False, id="a day between those of a list"),
        pytest.param("sat-mon 09:00-17:00", at(6, "12:00"), True, id="days over the end of the week"),
        pytest.param("mon 22:00-06:00", at(0, "23:00"), True, id="over midnight, evening"),
        pytest.param("mon 22:00-06:00", at(1, "05:59"), True, id="over midnight, the morning after"),
        pytest.param("mon 22:00-06:00", at(0, "05:00"), False, id="over midnight, the morning of the day"),
        pytest.param("mon 08:00-24:00", at(0, "23:59"), True, id="to the end of the day"),
        pytest.param("mon 08:00-24:00", at(1, "00:00"), False, id="not into the next"),
    ],
)
def test_open_or_closed(window: str, moment: datetime, open_: bool):
    assert read_window(window).is_open(moment) is open_


@pytest.mark.parametrize(
    ("window", "moment", "opens"),
    [
        pytest.param("09:00-17:00", at(0, "08:00"), at(0, "09:00"), id="later today"),
        pytest.param("09:00-17:00", at(0, "17:00"), at(1, "09:00"), id="tomorrow"),
        pytest.param("mon-fri 09:00-17:00", at(4, "18:00"), at(7, "09:00"), id="after the weekend"),
        pytest.param("mon 09:00-17:00", at(0, "17:30"), at(7, "09:00"), id="in a week"),
    ],
)
def test_next_opening(window: str, moment: datetime, opens: datetime):
    assert read_window(window).next_opening(moment) == opens


windows = st.sampled_from(["09:00-17:00", "mon-fri 08:30-12:00", "tue,sat 22:00-04:00", "sun 00:00-24:00"])


@given(windows, st.datetimes(datetime(2027, 1, 1), datetime(2028, 1, 1)))
def test_it_is_open_when_it_opens_and_closed_until_then(text: str, moment: datetime):
    """Also on the days on which the clocks change."""
    window, here = read_window(text), moment.replace(tzinfo=UTC).astimezone(OSLO)
    opens = window.next_opening(here)
    assert opens >= here
    assert window.is_open(opens)
    if not window.is_open(here):
        assert not window.is_open(here + (opens - here) / 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("9-17", "write it like"),
        ("office hours", "write it like"),
        ("09:00-25:00", "25:00 is no time of day"),
        ("09:00-09:00", "at the same time"),
        ("monday 09:00-17:00", "'monday' is no day"),
        ("mon-- 09:00-17:00", "is no day"),
    ],
)
def test_what_is_no_window(text: str, said: str):
    with pytest.raises(ValueError, match=said):
        read_window(text)
