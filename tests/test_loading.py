"""`from_pretrained` from a Hub, over real HTTP: revisions, cache, errors and faults."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from hub_client import QUICK, HubClient, fingerprint
from hub_server import HubServer
from safetensors.torch import load, save

from octhub import OctNet, UNet
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER, locate

REPO = "owner/octnet"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """What a repo of the embedded classifier holds."""
    folder = Path(locate(DEFAULT_CLASSIFIER))
    return {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors", "README.md")}


@pytest.fixture(scope="module")
def expected() -> str:
    return fingerprint(OctNet.from_pretrained(DEFAULT_CLASSIFIER))


@pytest.fixture(scope="module")
def hub():
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def _process(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with HubClient(hub.environment(home, token=False) | QUICK) as client:
        client.home = home
        yield client


@pytest.fixture
def client(_process, hub):
    """One process for all tests of this file, whose cache is emptied and whose Hub is healthy before each."""
    shutil.rmtree(_process.home / "hub", ignore_errors=True)
    hub.heal()
    yield _process
    hub.heal()


def cached(client: HubClient) -> list[Path]:
    """The files in a client's cache that hold something."""
    return [p for p in (client.home / "hub").rglob("*") if p.is_file() and "blobs" in p.parts]


def test_newest_tag_branch_and_commit_are_loaded_to_the_bit(client, hub, files, expected):
    old = hub.put(REPO, files)
    hub.repo(REPO).tags["v1"] = old
    weights = {name: t * 0.5 if t.is_floating_point() else t for name, t in _tensors(files).items()}
    new = hub.put(REPO, _with(files, _bytes(weights)))
    for source, kwargs in (
        (REPO, {"revision": "v1"}),
        (f"{REPO}@v1", {}),
        (f"{REPO}@{old}", {}),
        (REPO, {"revision": old}),
    ):
        assert client.load("OctNet", source, **kwargs) == {"fingerprint": expected}
    newest = client.load("OctNet", REPO)["fingerprint"]
    assert newest != expected
    assert client.load("OctNet", f"{REPO}@{new}")["fingerprint"] == newest
    assert "revision 'v1', and 'main' was asked for" in client.load("OctNet", f"{REPO}@v1", revision="main")["error"]


def test_cache_serves_when_the_hub_is_gone(client, hub, files, expected):
    hub.put(REPO, files)
    assert client.load("OctNet", REPO) == {"fingerprint": expected}
    seen = len(hub.transcript)
    assert client.load("OctNet", REPO) == {"fingerprint": expected}
    assert not [line for line in hub.transcript[seen:] if line.startswith("GET")]  # asked, and not fetched again
    hub.fault("refuse", times=0)
    assert client.load("OctNet", REPO) == {"fingerprint": expected}
    with HubClient(hub.environment(client.home) | {"HF_HUB_OFFLINE": "1"}) as offline:
        seen = len(hub.transcript)
        assert offline.load("OctNet", REPO) == {"fingerprint": expected}
        error = offline.load("OctNet", "owner/other")["error"]
        assert "owner/other: config.json is not in the local cache" in error
        assert DEFAULT_CLASSIFIER in error
        assert DEFAULT_SEGMENTER in offline.load("UNet", "owner/other")["error"]
        assert hub.transcript[seen:] == []


def test_what_is_not_there_is_named(client, hub, files):
    hub.put(REPO, files)
    hub.put("owner/gated", files)
    hub.repo("owner/gated").gated = True
    hub.put("owner/private", files)
    hub.repo("owner/private").private = True
    hub.put("owner/empty", {"README.md": b""})
    hub.put("owner/config-alone", {"config.json": files["config.json"]})
    for source, words in (
        ("owner/nobody", "no such Hub repo, or a private one"),
        ("owner/private", "no such Hub repo, or a private one"),
        ("owner/gated", "gated; ask for access"),
        (f"{REPO}@v9", "the Hub repo has no revision 'v9'"),
        (f"{REPO}@{'0' * 40}", f"the Hub repo has no revision '{'0' * 40}'"),
        ("owner/empty", "has no config.json, expected one"),
        ("owner/config-alone", "has no model.safetensors, expected one"),
        (f"{REPO}@", "revision ''"),
    ):
        error = client.load("OctNet", source)["error"]
        assert error.startswith(source)
        assert words in error


def test_weights_of_another_commit_are_refused(client, hub, files, expected):
    """Whole files, each as the Hub announced it, that were never saved together."""
    weights = _bytes({name: t * 0.5 if t.is_floating_point() else t for name, t in _tensors(files).items()})
    mixed = hub.put(REPO, files | {"model.safetensors": weights})
    error = client.load("OctNet", f"{REPO}@{mixed}")["error"]
    found, said = hashlib.sha256(weights).hexdigest(), hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert error.startswith(f"{REPO}@{mixed}: model.safetensors: sha256 {found}, expected {said} as config.json says")
    config = json.loads(files["config.json"])
    hub.put(REPO, files | {"config.json": json.dumps(config | {"weights_sha256": found}).encode()})
    assert f"expected {found} as config.json says" in client.load("OctNet", REPO)["error"]
    hub.put(REPO, files)
    assert client.load("OctNet", REPO) == {"fingerprint": expected}


def test_what_does_not_fit_is_named(client, hub, files, expected):
    config, tensors = json.loads(files["config.json"]), _tensors(files)
    config.pop("weights_sha256")  # what is said of weights that nobody vouches for
    files = files | {"config.json": json.dumps(config).encode()}
    first = sorted(tensors)[0]
    for change, words in (
        ({"config.json": json.dumps(config | {"config_version": 99}).encode()}, "config_version 99.*upgrade octhub"),
        ({"config.json": json.dumps(config | {"surprise": 1}).encode()}, "unknown keys \\['surprise'\\]"),
        ({"config.json": b"{"}, "is not JSON"),
        ({"model.safetensors": files["model.safetensors"][:-100]}, "not a whole safetensors file"),
        ({"model.safetensors": b"\x80\x04" + bytes(100)}, "not a whole safetensors file"),
        ({"model.safetensors": _bytes({k: v for k, v in tensors.items() if k != first})}, f"missing.*{first}"),
        ({"model.safetensors": _bytes(tensors | {"surplus": torch.zeros(1)})}, "unexpected tensors surplus"),
    ):
        hub.put(REPO, files | change)
        error = client.load("OctNet", REPO)["error"]
        assert error.startswith(f"{REPO}: ")
        assert re.search(words, error), error
    hub.put(REPO, files)
    assert "of architecture OctNet, expected UNet" in client.load("UNet", REPO)["error"]
    assert client.load("OctNet", REPO) == {"fingerprint": expected}


def test_cut_download_goes_on_where_it_stopped(client, hub):
    folder = Path(locate(DEFAULT_SEGMENTER))
    hub.put("owner/unet", {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")})
    hub.fault("cut", "model.safetensors")
    seen = len(hub.transcript)
    assert client.load("UNet", "owner/unet") == {"fingerprint": fingerprint(UNet.from_pretrained(folder))}
    resumed = [re.search(r"206.* bytes (\d+)-", line) for line in hub.transcript[seen:] if "model.safetensors" in line]
    assert [int(m[1]) > 0 for m in resumed if m] == [True]


@pytest.mark.parametrize("kind", ["refuse", "error", "stall"])
def test_download_that_fails_leaves_nothing_broken(client, hub, files, expected, kind):
    hub.put(REPO, files)
    hub.fault("cut", "model.safetensors")
    hub.fault(kind, "model.safetensors", "GET", times=0)
    error = client.load("OctNet", REPO)["error"]
    assert error.startswith(REPO)
    assert "the download of model.safetensors failed" in error
    assert all(len(p.read_bytes()) < 100_000 for p in cached(client))  # no half of the weights
    hub.heal()
    assert client.load("OctNet", REPO) == {"fingerprint": expected}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_wrong_bytes_are_fetched_again_and_never_used(client, hub, files, expected, name):
    hub.put(REPO, files)
    hub.fault("corrupt", name)
    assert client.load("OctNet", REPO) == {"fingerprint": expected}
    shutil.rmtree(client.home / "hub")
    hub.fault("corrupt", name, times=0)
    assert f"{name} is not what the Hub announced" in client.load("OctNet", REPO)["error"]
    hub.fault("refuse", times=0)
    assert f"the download of {name} failed" in client.load("OctNet", REPO)["error"]
    hub.heal()
    assert client.load("OctNet", REPO) == {"fingerprint": expected}


def test_blob_that_is_a_link_into_the_shared_store_is_as_good(client, hub, files, expected):
    """As huggingface_hub lays out what came by Xet: link → the repo's blob → a file named after another hash."""
    hub.put(REPO, files)
    client.load("OctNet", REPO)
    blob = max(cached(client), key=lambda p: p.stat().st_size)
    stored = client.home / "hub" / "blobs" / "ab" / ("ab" * 32)
    stored.parent.mkdir(parents=True)
    blob.rename(stored)
    blob.symlink_to(stored)
    seen = len(hub.transcript)
    assert client.load("OctNet", REPO, local_files_only=True) == {"fingerprint": expected}
    assert client.load("OctNet", REPO) == {"fingerprint": expected}
    assert not [line for line in hub.transcript[seen:] if line.startswith("GET")]
    stored.write_bytes(stored.read_bytes()[:-8] + bytes(8))
    assert "was dropped" in client.load("OctNet", REPO, local_files_only=True)["error"]
    assert stored.is_file()  # other repos may need it
    assert client.load("OctNet", REPO) == {"fingerprint": expected}


def test_cache_that_was_damaged_is_mended(client, hub, files, expected):
    hub.put(REPO, files)
    client.load("OctNet", REPO)
    blob = max(cached(client), key=lambda p: p.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1000])
    assert "was dropped" in client.load("OctNet", REPO, local_files_only=True)["error"]
    assert client.load("OctNet", REPO) == {"fingerprint": expected}
    blob.write_bytes(blob.read_bytes()[:-8] + bytes(8))
    with HubClient(hub.environment(client.home) | {"HF_HUB_OFFLINE": "1"}) as offline:
        error = offline.load("OctNet", REPO)["error"]
    assert "the Hub can't be reached (the cached file was damaged, and was dropped)" in error
    assert client.load("OctNet", REPO) == {"fingerprint": expected}


def _with(files: dict[str, bytes], weights: bytes) -> dict[str, bytes]:
    """The repo's files with other weights, which its configuration vouches for."""
    config = json.loads(files["config.json"]) | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    return files | {"model.safetensors": weights, "config.json": json.dumps(config).encode()}


def _tensors(files: dict[str, bytes]) -> dict:
    return load(files["model.safetensors"])


def _bytes(tensors: dict) -> bytes:
    return save(tensors, metadata={"format": "pt"})
