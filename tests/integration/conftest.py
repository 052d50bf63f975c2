"""Fixtures of the integration tests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmcampaign.checks import outside
from mmcampaign.store.engine import Store
from tests.builders import certified, make_candidate, make_enrollment, make_learner
from tests.worlds import TestApp, fill, make_app, people


@pytest.fixture(autouse=True)
def _no_spam_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether SpamAssassin is on this machine does not matter here, and it takes two seconds an email."""
    monkeypatch.setattr(outside, "assassin", lambda: None)


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Callable[..., TestApp]:
    """An installation with so many audit passers."""

    def build(number: int = 5, *programs: Any, backend: Any = None) -> TestApp:
        fill(store, people(number))
        return make_app(store, tmp_path, *programs, backend=backend)

    return build


@pytest.fixture
def app(store: Store, tmp_path: Path) -> TestApp:
    """Seven learners: four to upgrade (one of them also to go on), one of the staff, one unsubscribed, one failed."""
    fill(
        store,
        [
            *people(3),
            make_candidate(certified(1), make_enrollment(2), learner=make_learner(4)),
            make_candidate(learner=make_learner(5, email="kim@nx.example")),
            make_candidate(learner=make_learner(6), suppression="unsubscribed"),
            make_candidate(make_enrollment(1, grade=0.1), learner=make_learner(7)),
        ],
    )
    made = make_app(store, tmp_path)
    site = made.settings.site.model_copy(update={"staff": ("@nx.example",)})
    return replace(made, settings=made.settings._replace(site=site))


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that looks at the database with each claim only, however long the test takes."""
    monkeypatch.setattr("mmcampaign.watch.LOOK_SECONDS", 3_600.0)
