"""Fixtures that several test files share."""

from pathlib import Path

import pytest
from app_fixtures import (  # noqa: F401 - fixtures, here so that all of a session's tests share one server
    app,
    browser,
    client,
    connect,
    scans,
    segmenter,
    segmenter_folder,
    server,
    visit,
    zero_gpu,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def classifier():
    """The embedded checkpoint's Classifier, as app and command line use it by default."""
    from octhub.hub import DEFAULT_CLASSIFIER
    from octhub.predict import Classifier

    return Classifier.from_pretrained(ROOT / DEFAULT_CLASSIFIER)
