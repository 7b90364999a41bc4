"""The Space itself: built from its files as on the Hub, started, and asked over its API."""

import shutil
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from hub_server import HubServer
from space_builder import SPACE_ID, Space
from zero_gpu_server import ZeroGpuServer

from octhub import Segmenter
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.mask import read_mask
from octhub.served import RECORDS
from training.space_card import PinnedModel
from training.space_files import space_files

pytestmark = pytest.mark.slow  # minutes and 6 GB, most of them for a PyTorch of the Space's own

SPACES = "spaces==0.51.3"
"""What the Hub installs beside the requirements; tests/zero_gpu.py knows the inside of this version."""

CLOSE = 1e-3
"""The Space's environment may hold other versions than this one."""


@pytest.fixture(scope="module")
def space(root):
    """The Space, with the embedded checkpoints on a Hub that went away after it was built."""
    home = Path(tempfile.mkdtemp(prefix="octhub-space-"))
    try:
        with HubServer() as hub:
            pins = []
            for repo_id, folder in (("owner/octnet", DEFAULT_CLASSIFIER), ("owner/unet", DEFAULT_SEGMENTER)):
                records = tuple(name for name in RECORDS if (root / folder / name).is_file())
                names = "config.json", "model.safetensors", "README.md", *records
                revision = hub.put(repo_id, {name: (root / folder / name).read_bytes() for name in names})
                pins.append(PinnedModel(repo_id, revision, records))
                hub.put(repo_id, {"README.md": b"An empty repo."})  # what is served is the pin, not the newest
            space = Space(home)
            space.build(space_files(*pins, space_id=SPACE_ID), hub)
            space.env["HF_ENDPOINT"] = hub.endpoint
        yield space
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def models(root, classifier):
    """What the Space serves, in this process."""
    return classifier, Segmenter.from_pretrained(root / DEFAULT_SEGMENTER)


@pytest.fixture
def ask(root, models, tmp_path):
    """ask(url) compares the Space's answers with those given here."""
    from gradio_client import Client, handle_file

    scan, expert = root / "examples" / "dme-1.jpeg", root / "examples" / "healthy-1-mask.png"
    healthy = expert.with_name("healthy-1.png")
    classifier, segmenter = models

    def ask(url: str) -> None:
        client = Client(url, download_files=tmp_path, verbose=False)
        facts, _ = client.predict(handle_file(str(scan)), api_name="/classify")
        expected = classifier(scan, heatmap=True)
        assert (facts["label"], facts["heatmap_class"]) == (expected.label, expected.heatmap_class)
        assert facts["probabilities"] == pytest.approx(expected.probabilities, abs=CLOSE)
        facts, labels, *_ = client.predict(handle_file(str(healthy)), handle_file(str(expert)), api_name="/segment")
        answer = segmenter(healthy)
        assert facts["scores"]["miou"] == pytest.approx(answer.score(expert).miou, abs=CLOSE)
        assert np.mean(read_mask(labels, None, answer.class_names) != answer.mask) < CLOSE

    return ask


def test_requirements_pins_and_preloaded_files_are_enough(space, ask):
    assert not (space.app / "checkpoints").exists()
    with space.running() as url:
        ask(url)
        page = urllib.request.urlopen(f"{url}/config").read().decode()  # with the About tab
        assert "owner/octnet@" in page
        assert "aren’t here" not in page


def test_on_zero_gpu(space, ask, models, root):
    space.install(SPACES)
    device = {"SPACES_ZERO_GPU": "true", "ZEROGPU_OFFLOAD_DIR": str(space.home / "tensors")}
    with ZeroGpuServer() as zero:
        program = str(root / "tests" / "zero_gpu.py")
        with space.running(program, SPACES_ZERO_DEVICE_API_URL=zero.url, **device) as url:
            assert len(zero.all("startup-report")) == 1
            ask(url)
        runs = zero.all("schedule")
        assert len(runs) == len(zero.all("release")) == 2
        assert all(0 < int(run["durationSeconds"]) <= 15 for run in runs)
        assert {run["fail"] for run in zero.all("release")} == {"false"}
    tensors = int((space.home / "log").read_text().split("on the GPU: ")[1].split()[0])
    assert tensors >= sum(len(served.model.state_dict()) for served in models)
