"""Sources of checkpoints: folders, repo ids, and what is said when neither is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from octhub import CheckpointError, OctNet
from octhub.hub import DEFAULT_CLASSIFIER, locate

ROOT = Path(__file__).parent.parent


def test_committed_checkpoint_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = OctNet.from_pretrained(DEFAULT_CLASSIFIER)
    assert model.serving.class_names == ("CNV", "DME", "DRUSEN", "NORMAL")
    assert not model.training


def test_committed_checkpoint_holds_no_path_and_no_pickle():
    folder = ROOT / DEFAULT_CLASSIFIER
    for path in folder.iterdir():
        assert path.suffix in (".safetensors", ".json", ".md", ".png")
        if path.suffix in (".json", ".md"):
            assert str(ROOT.parent) not in path.read_text()
    assert (folder / "model.safetensors").stat().st_size < 8_000_000


def test_repo_ids_stay_and_paths_are_checked():
    for repo in ("owner/name", "owner/name@v1", "owner/name@refs/pr/1"):
        assert locate(repo) == repo
    for source in ("./nowhere", "/nowhere/at/all", "checkpoints/nowhere", "a/b/c", Path("owner/name")):
        with pytest.raises(CheckpointError, match="no such folder"):
            locate(source)


def test_what_is_no_repo_id_is_named():
    with pytest.raises(CheckpointError, match="neither a folder that exists nor a Hub repo"):
        OctNet.from_pretrained("not a repo!")


def test_folder_without_weights_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"no model\.safetensors in this folder"):
        OctNet.from_pretrained(tmp_path)


@pytest.mark.parametrize("extra", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_without_a_network_a_local_checkpoint_is_named(tmp_path, extra):
    code = """if True:
        from octhub import CheckpointError, OctNet
        try:
            OctNet.from_pretrained("owner/name")
        except CheckpointError as e:
            print(e)"""
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", **extra}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert "owner/name: config.json is not in the local cache" in done.stdout
    assert DEFAULT_CLASSIFIER in done.stdout
