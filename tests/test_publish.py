"""`python -m training.publish`, over real HTTP: the dry look, one commit, tags, faults, and what is not fit."""

import json
import re
import shutil
import zlib
from pathlib import Path

import pytest
import torch
import yaml
from hub_client import QUICK, HubClient, fingerprint
from hub_server import HubServer
from PIL import Image

from octhub import OctNet, UNet, __version__
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER, locate
from training.release_check import problems

TAG = f"v{__version__}"
CLASSIFIER, SEGMENTER, SPACE = "tester/octnet-oct2017", "tester/unet-duke-dme", "tester/octhub"


@pytest.fixture(scope="module")
def client_and_hub(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with HubServer() as hub, HubClient(hub.environment(home) | QUICK) as client:
        yield client, hub


@pytest.fixture
def hub(client_and_hub):
    """The Hub, healthy and without repos."""
    hub = client_and_hub[1]
    hub.heal()
    hub.forget()
    yield hub
    hub.heal()


@pytest.fixture
def publish(client_and_hub, hub):
    """Run the command; the token must not be in what it says."""

    def publish(*argv, status=0):
        done = client_and_hub[0].run("training.publish", *map(str, argv))
        assert done.returncode == status, done.stdout + done.stderr
        assert hub.token not in done.stdout + done.stderr
        return done

    return publish


@pytest.fixture
def load(client_and_hub):
    return client_and_hub[0].load


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the embedded classifier's checkpoint, to change."""
    return Path(shutil.copytree(locate(DEFAULT_CLASSIFIER), tmp_path / "octnet-oct2017"))


def writes(hub: HubServer) -> list[str]:
    """The requests that could change something."""
    asking = ("/preupload/", "/validate-yaml", "/info/lfs/objects/batch", "/paths-info/")
    return [r for r in hub.transcript if not r.startswith(("GET", "HEAD")) and not any(a in r for a in asking)]


def test_dry_look_shows_everything_and_changes_nothing(publish, hub):
    before = len(writes(hub))
    shown = publish(DEFAULT_CLASSIFIER, CLASSIFIER).stdout
    assert "model tester/octnet-oct2017, not there yet" in shown
    size = (Path(locate(DEFAULT_CLASSIFIER)) / "model.safetensors").stat().st_size
    assert re.search(rf"new\s+{size:,}\s+[0-9a-f]{{16}}\s+model\.safetensors", shown)
    assert f"tag {TAG} is new" in shown
    assert f'from_pretrained("{CLASSIFIER}")' in shown  # the card, as it will be there
    assert "Nothing was uploaded. --yes does it as tester." in shown
    assert writes(hub)[before:] == []
    with pytest.raises(KeyError):
        hub.repo(CLASSIFIER)


def test_published_loads_to_the_bit_and_publishing_again_changes_nothing(publish, load, hub):
    for name, model, repo_id in ((DEFAULT_CLASSIFIER, OctNet, CLASSIFIER), (DEFAULT_SEGMENTER, UNet, SEGMENTER)):
        publish(name, repo_id, "--yes")
        repo = hub.repo(repo_id)
        assert len(repo.commits) == 2  # the Hub's own, and ours
        assert repo.tags == {TAG: repo.head.sha}
        mine = {p.name: p.read_bytes() for p in Path(locate(name)).iterdir()}
        theirs = {path: data for path, data in repo.head.files.items() if path != ".gitattributes"}
        assert theirs.keys() == mine.keys()
        assert [path for path in mine if path != "README.md" and theirs[path] != mine[path]] == []
        assert repo_id in theirs["README.md"].decode()
        expected = {"fingerprint": fingerprint(model.from_pretrained(name))}
        for source in (repo_id, f"{repo_id}@{TAG}", f"{repo_id}@{repo.head.sha}"):
            assert load(model.__name__, source) == expected
        again, before = publish(name, repo_id, "--yes").stdout, len(writes(hub))
        assert f"already there: {repo.head.sha}" in again
        assert len(repo.commits) == 2
        assert "0 to change" in publish(name, repo_id).stdout
        assert writes(hub)[before:] == []


@pytest.mark.parametrize("kind", ["error", "refuse", "conflict"])
def test_fault_half_way_leaves_the_old_revision_served(publish, load, hub, folder, kind):
    publish(folder, CLASSIFIER, "--yes")
    old = hub.repo(CLASSIFIER).head.sha
    (folder / "notes.md").write_text((folder / "notes.md").read_text() + "\nOne more remark.\n")
    render(folder)
    hub.fault(kind, "/commit/", "POST", times=0)
    failed = publish(folder, CLASSIFIER, "--yes", "--tag", "v9", status=2)
    assert failed.stderr.startswith("error: ")
    repo = hub.repo(CLASSIFIER)
    assert (repo.head.sha, repo.tags) == (old, {TAG: old})
    assert "fingerprint" in load("OctNet", CLASSIFIER)
    hub.heal()
    publish(folder, CLASSIFIER, "--yes", "--tag", "v9")
    assert repo.tags == {TAG: old, "v9": repo.head.sha}
    assert "One more remark" in repo.head.files["README.md"].decode()
    assert len(repo.commits) == 3


def test_fault_before_the_tag_is_mended_by_the_next_run(publish, hub):
    hub.fault("error", "/tag/", times=0)
    publish(DEFAULT_CLASSIFIER, CLASSIFIER, "--yes", status=2)
    hub.heal()
    repo = hub.repo(CLASSIFIER)
    assert (len(repo.commits), repo.tags) == (2, {})
    publish(DEFAULT_CLASSIFIER, CLASSIFIER, "--yes")
    assert (len(repo.commits), repo.tags) == (2, {TAG: repo.head.sha})


def test_version_that_is_published_stays(publish, hub, folder):
    publish(folder, CLASSIFIER, "--yes")
    (folder / "notes.md").write_text("Other notes.\n")
    render(folder)
    for yes in ([], ["--yes"]):
        refused = publish(folder, CLASSIFIER, *yes, status=2)
        assert f"tag {TAG} is published already" in refused.stderr
    assert len(hub.repo(CLASSIFIER).commits) == 2


def test_files_that_are_no_longer_there_are_removed(publish, hub, folder):
    publish(folder, CLASSIFIER, "--yes")
    hub.put(CLASSIFIER, hub.repo(CLASSIFIER).head.files | {"pytorch_model.bin": b"old"})
    assert re.search(r"gone .*pytorch_model\.bin", publish(folder, CLASSIFIER, "--tag", "v9").stdout)
    publish(folder, CLASSIFIER, "--yes", "--tag", "v9")
    assert "pytorch_model.bin" not in hub.repo(CLASSIFIER).head.files


def test_without_a_token_the_dry_look_works_and_publishing_says_what_is_missing(hub, tmp_path):
    with HubClient(hub.environment(tmp_path, token=False)) as stranger:
        assert stranger.run("training.publish", DEFAULT_CLASSIFIER, CLASSIFIER).returncode == 0
        refused = stranger.run("training.publish", DEFAULT_CLASSIFIER, CLASSIFIER, "--yes")
        assert refused.returncode == 2
        assert "no token: run `hf auth login`, or set HF_TOKEN" in refused.stderr
        hub.fault("refuse", times=0)
        alone = stranger.run("training.publish", DEFAULT_CLASSIFIER, CLASSIFIER)
        assert alone.returncode == 0
        assert "The Hub can't be asked what it holds now" in alone.stdout


def test_what_is_no_checkpoint_is_refused(publish, tmp_path):
    assert "no checkpoint's folder" in publish(tmp_path / "nowhere", CLASSIFIER, status=2).stderr
    assert "expected OWNER/NAME" in publish(DEFAULT_CLASSIFIER, "name", status=2).stderr


def break_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-4])


def other_weights(folder: Path) -> None:
    model = OctNet.from_pretrained(folder)
    with torch.no_grad():
        list(model.parameters())[-1][0] += 1
    readme = (folder / "README.md").read_text()
    model.save_pretrained(folder)
    (folder / "README.md").write_text(readme)


def no_licence(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("license: apache-2.0\n", ""))


def typed_figure(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    found = re.search(r"\d\.\d{4}", card.split("---", 2)[2])[0]
    (folder / "README.md").write_text(card.replace(found, "0.1234"))


def local_path(folder: Path) -> None:
    training = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps(training | {"data": "/home/someone/scans"}))


def path_in_a_picture(folder: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Source", "file:///Users/someone/plot.py")
    Image.new("L", (2, 2)).save(folder / "extra.png", pnginfo=info)


def path_after_the_pixels(folder: Path) -> None:
    Image.new("L", (2, 2)).save(folder / "late.png")
    png, text = (folder / "late.png").read_bytes(), b"tEXtSource\0data:/home/someone/plot.py"
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    (folder / "late.png").write_bytes(png[:-12] + chunk + png[-12:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "golden.json").unlink(), "no golden.json"),
        (lambda f: (f / "pytorch_model.bin").write_bytes(b"\x80\x04"), "pytorch_model.bin: expected only .*no pickle"),
        (lambda f: (f / "secret.json").symlink_to("/etc/hostname"), "secret.json: expected plain files"),
        (break_weights, "model.safetensors: sha256 .* as config.json says"),
        (other_weights, "differ from golden.json's"),
        (no_licence, "no license|README.md"),
        (typed_figure, "0.1234|README.md"),
        (local_path, "training.json: holds a path of this machine, '/home/someone'"),
        (path_after_the_pixels, "late.png: holds a path of this machine"),
        (path_in_a_picture, "extra.png: holds a path of this machine"),
    ],
)
def test_what_is_not_fit_is_named(folder, change, words):
    assert problems(folder) == []
    change(folder)
    assert re.search(words, "\n".join(problems(folder)))


def test_refused_checkpoint_uploads_nothing(publish, hub, folder):
    local_path(folder)
    before = len(hub.transcript)
    assert "not fit to be published" in publish(folder, CLASSIFIER, "--yes", status=2).stderr
    assert not [r for r in hub.transcript[before:] if not r.startswith("GET")]


def test_space_is_published_with_pinned_models(publish, hub):
    unpublished = publish("space", SPACE, status=2).stderr
    assert f"publish it first: python -m training.publish {DEFAULT_CLASSIFIER} {CLASSIFIER} --yes" in unpublished
    publish(DEFAULT_CLASSIFIER, CLASSIFIER, "--yes")
    publish(DEFAULT_SEGMENTER, SEGMENTER, "--yes")
    shown = publish("space", SPACE).stdout
    assert "hardware: zero-a10g" in shown
    assert re.search(r"new .* app\.py", shown)
    done = publish("space", SPACE, "--yes").stdout
    assert "hardware zero-a10g: asked for" in done
    space = hub.repo(SPACE, "space")
    pins = {name: hub.repo(name).head.sha for name in (CLASSIFIER, SEGMENTER)}
    front = yaml.safe_load(space.head.files["README.md"].decode().split("---")[1])
    assert front["sdk"] == "gradio"
    assert front["models"] == [CLASSIFIER, SEGMENTER]
    read = {CLASSIFIER: "", SEGMENTER: "comparison.json,"}  # the builder would fail for a file that isn't there
    read = {
        n: f"config.json,model.safetensors,metrics.json,training.json,{its}decision.json" for n, its in read.items()
    }
    assert front["preload_from_hub"] == [f"{name} {read[name]} {sha}" for name, sha in pins.items()]
    models = json.loads(space.head.files["models.json"])
    assert models == {"classifier": f"{CLASSIFIER}@{pins[CLASSIFIER]}", "segmenter": f"{SEGMENTER}@{pins[SEGMENTER]}"}
    assert space.hardware == "zero-a10g" or "zero-a10g" in str(space.runtime)
    count, before = len(space.commits), len(writes(hub))
    again = publish("space", SPACE, "--yes").stdout
    assert "already there" in again
    assert "asked for before" in again
    assert len(space.commits) == count
    assert writes(hub)[before:] == []


def test_space_is_not_pinned_to_what_it_could_not_load(publish, hub):
    publish(DEFAULT_CLASSIFIER, CLASSIFIER, "--yes", "--private")
    publish(DEFAULT_SEGMENTER, SEGMENTER, "--yes")
    assert "private or gated" in publish("space", SPACE, "--yes", status=2).stderr
    odd = publish("space", SPACE, "--classifier", "o/n/x@v1", status=2)
    assert odd.stderr.startswith("error: ")
    assert "expected letters" in publish(DEFAULT_CLASSIFIER, CLASSIFIER, "--tag", "v 1", status=2).stderr


def test_space_without_gpu_hardware_is_published_all_the_same(publish, hub):
    publish(DEFAULT_CLASSIFIER, CLASSIFIER, "--yes")
    publish(DEFAULT_SEGMENTER, SEGMENTER, "--yes")
    hub.fault("payment", "/hardware", times=0)
    done = publish("space", SPACE, "--yes")
    assert "hardware zero-a10g was refused" in done.stderr
    assert "app.py" in hub.repo(SPACE, "space").head.files


def render(folder: Path) -> None:
    """Bring a checkpoint's card up to date."""
    from training.card import write_card

    write_card(folder)
