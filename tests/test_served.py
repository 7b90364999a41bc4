"""What an app knows of the models that it serves: from a folder, from a Hub, and where records are missing or odd."""

import json
import shutil
from pathlib import Path

import pytest
from hub_client import QUICK, HubClient
from hub_server import HubServer

from octhub import Classifier, OctNet, Segmenter, ServingConfig
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER, locate
from octhub.served import COMPARISON, DECISION, METRICS, RECORDS, TRAINING, app_facts, served

REPO = "owner/octnet"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    folder = Path(locate(DEFAULT_CLASSIFIER))
    return {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors", METRICS, TRAINING)}


@pytest.fixture(scope="module")
def decision(files) -> bytes:
    """What little a decision.json of `files` must say to count as theirs."""
    return json.dumps({"sha256": json.loads(files[METRICS])["sha256"]}).encode()


@pytest.fixture
def folder(files, tmp_path) -> Path:
    """A checkpoint's folder, to change."""
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def look(folder: Path):
    return served(Classifier.from_pretrained(folder, device="cpu").model)


class TestFolder:
    @pytest.mark.parametrize(("serve", "source"), [(Classifier, DEFAULT_CLASSIFIER), (Segmenter, DEFAULT_SEGMENTER)])
    def test_the_embedded_checkpoints_have_records_of_themselves(self, serve, source):
        found = served(serve.from_pretrained(source, device="cpu").model)
        assert {METRICS, TRAINING} <= found.records.keys()
        assert found.records[METRICS]["sha256"]["model.safetensors"] == found.facts()["weights_sha256"]
        assert found.records[DECISION]["sha256"] == found.records[METRICS]["sha256"]
        assert found.source == source
        assert found.page is None
        assert found.records.keys() | found.absent.keys() == set(RECORDS)

    def test_facts_are_json(self, folder):
        facts = app_facts({"classifier": look(folder)})
        assert json.loads(json.dumps(facts)) == facts
        assert facts["models"]["classifier"]["class_names"] == ["CNV", "DME", "DRUSEN", "NORMAL"]
        assert facts["models"]["classifier"]["revision"] is None

    def test_the_path_to_a_folder_is_not_told(self, folder):
        assert look(folder).source == folder.name

    def test_missing(self, folder):
        for name in (METRICS, TRAINING):
            (folder / name).unlink()
        assert look(folder).absent == dict.fromkeys(RECORDS, "not in this folder")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b'{"sha256": ', "damaged: "),
            (b"\xff\xfe\x00", "damaged: "),
            (b"[1]", "damaged: holds a list, expected an object"),
            (b"{}", "of other weights"),
            (b'{"sha256": "x"}', "of other weights"),
            (b'{"sha256": {"model.safetensors": "00"}}', "of other weights"),
        ],
    )
    def test_odd(self, folder, content, words):
        for name in (METRICS, DECISION):
            (folder / name).write_bytes(content)
        found = look(folder)
        assert list(found.records) == [TRAINING]
        for name in (METRICS, DECISION):
            assert found.absent[name].startswith(words)

    def test_figures_of_another_configuration_are_not_these(self, folder, decision):
        (folder / DECISION).write_bytes(decision)
        assert DECISION in look(folder).records
        config = json.loads((folder / "config.json").read_text())
        config["serving"]["temperature"] = 2.0
        (folder / "config.json").write_text(json.dumps(config))
        absent = look(folder).absent
        assert all("another configuration" in absent[name] for name in (METRICS, DECISION))

    def test_a_model_from_nowhere(self):
        model = OctNet(num_classes=2, serving=ServingConfig(("a", "b"), (64, 128)))
        found = served(model)
        assert found.records == {}
        assert found.facts()["weights_sha256"] is None


@pytest.fixture(scope="module")
def hub():
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def process(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with HubClient(hub.environment(home, token=False) | QUICK) as client:
        client.home = home
        yield client


class TestHub:
    @pytest.fixture
    def client(self, process, hub):
        """One process for all tests, whose cache is emptied and whose Hub is healthy before each."""
        shutil.rmtree(process.home / "hub", ignore_errors=True)
        hub.heal()
        hub.transcript.clear()
        yield process
        hub.heal()

    def test_records_are_of_the_commit_that_is_served(self, client, hub, files):
        commit = hub.put(REPO, files)
        hub.put(REPO, files | {METRICS: b"{}", TRAINING: b"newer"})
        found = client.served("OctNet", f"{REPO}@{commit}")
        assert found["records"] == [METRICS, TRAINING]
        assert found["absent"] == {COMPARISON: "not in this repo", DECISION: "not in this repo"}
        assert found["facts"]["revision"] == commit
        assert found["facts"]["source"] == f"{REPO}@{commit}"
        assert found["page"] == f"https://huggingface.co/{REPO}/tree/{commit}"
        assert client.served("OctNet", REPO)["absent"][METRICS].startswith("of other weights")

    def test_what_was_preloaded_needs_no_hub(self, client, hub, files):
        commit = hub.put(REPO, files)
        seen = client.served("OctNet", f"{REPO}@{commit}")
        with HubClient(hub.environment(client.home, token=False) | {"HF_HUB_OFFLINE": "1"}) as offline:
            again = offline.served("OctNet", f"{REPO}@{commit}")
        assert again["records"] == seen["records"] == [METRICS, TRAINING]
        assert again["facts"] == seen["facts"]

    def test_a_hub_that_went_away_is_asked_once(self, client, hub, files):
        hub.put(REPO, files)
        assert "fingerprint" in client.load("OctNet", REPO)  # config and weights alone
        hub.transcript.clear()
        hub.fault("refuse", ".json", times=0)
        found = client.served("OctNet", f"{REPO}@{hub.repo(REPO).head.sha}")
        assert found["records"] == []
        assert found["absent"] == dict.fromkeys(RECORDS, "out of reach: the download failed")
        assert not [line for line in hub.transcript if TRAINING in line or COMPARISON in line]

    def test_what_was_preloaded_is_found_behind_what_was_not(self, client, hub, files, decision):
        """As on a Space: its builder fetches the files that there are, and asks for no other."""
        commit = hub.put(REPO, files | {DECISION: decision})
        client.served("OctNet", f"{REPO}@{commit}")
        for memory in (client.home / "hub").rglob(".no_exist"):
            shutil.rmtree(memory)
        hub.fault("refuse", ".json", times=0)
        found = client.served("OctNet", f"{REPO}@{commit}")
        assert set(found["records"]) == {METRICS, TRAINING, DECISION}
        assert found["absent"] == {COMPARISON: "out of reach: the download failed"}

    def test_a_damaged_download_is_not_used(self, client, hub, files):
        hub.put(REPO, files)
        hub.fault("corrupt", METRICS, times=0)
        found = client.served("OctNet", REPO)
        assert METRICS not in found["records"]
        assert found["absent"][METRICS].startswith("out of reach")
