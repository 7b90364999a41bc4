"""The stand-in for the Hub, as the real huggingface_hub sees it: uploads, downloads, errors, and each fault."""

import hashlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hub_repos import GITATTRIBUTES, git_sha1
from hub_server import HubServer

LOOP = """if True:
    import json, sys
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, HfApi, ModelCard
    from huggingface_hub import hf_hub_download, snapshot_download
    api = HfApi()
    for line in sys.stdin:
        try:
            answer = {"value": eval(json.loads(line))}
        except Exception as e:
            status = getattr(getattr(e, "response", None), "status_code", None)
            answer = {"error": type(e).__name__, "status": status, "message": str(e)}
        print(json.dumps(answer, default=str), flush=True)
"""
"""Evaluates an expression a line. One process for all tests, since importing huggingface_hub takes a second."""

WEIGHTS = bytes(range(256)) * 64
CARD = b"---\nlicense: apache-2.0\ntags: [oct]\n---\n\n# A model\n"
SPACE_CARD = b"---\ntitle: A Space\nsdk: gradio\napp_file: app.py\n---\n"


class Client:
    """huggingface_hub in another process, with the token unless a call says `token=False`."""

    def __init__(self, hub: HubServer, home: Path):
        env = hub.environment(home) | {"HF_HUB_DOWNLOAD_TIMEOUT": "2", "HF_HUB_ETAG_TIMEOUT": "2"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOOP], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, expression: str) -> dict:
        self.process.stdin.write(json.dumps(expression) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __call__(self, expression: str):
        """The expression's value, in JSON."""
        answer = self._ask(expression)
        assert "error" not in answer, answer
        return answer["value"]

    def error(self, expression: str) -> tuple[str, int | None]:
        """(class, HTTP status) of the exception that it raises."""
        answer = self._ask(expression)
        return answer["error"], answer["status"]

    def load(self, repo_id: str, name: str, **kwargs) -> bytes:
        """A file's bytes, by hf_hub_download."""
        options = "".join(f", {key}={value!r}" for key, value in kwargs.items())
        return Path(self(f"hf_hub_download({repo_id!r}, {name!r}{options})")).read_bytes()


@pytest.fixture(scope="module")
def server():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    client = Client(server, tmp_path_factory.mktemp("home"))
    yield client
    client.process.stdin.close()
    client.process.wait(10)


@pytest.fixture
def hub(server):
    """The server, well again after each test."""
    server.transcript.clear()
    yield server
    server.heal()


@pytest.fixture
def folder(tmp_path) -> Path:
    files = {
        "README.md": CARD,
        "config.json": b'{"a": 1}\n',
        "model.safetensors": WEIGHTS,
        "deep/notes.txt": b"notes\n",
    }
    for name, data in files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "folder"


def post(hub: HubServer, path: str, lines: list[dict]) -> int:
    """Post as a client that huggingface_hub is not; the status."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    request = urllib.request.Request(hub.endpoint + path, body, {"Authorization": f"Bearer {hub.token}"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        return e.code


def test_uploads_come_down_as_they_went_up(hub, client, folder):
    assert client("api.create_repo('tester/round')") == f"{hub.endpoint}/tester/round"
    assert client.error("api.create_repo('tester/round')") == ("HfHubHTTPError", 409)
    assert client("api.create_repo('tester/round', exist_ok=True)")
    repo = hub.repo("tester/round")
    assert repo.head.files == {".gitattributes": GITATTRIBUTES}

    upload = f"api.upload_folder(repo_id='tester/round', folder_path={str(folder)!r}, commit_message='Upload').oid"
    sha = client(upload)
    assert [c.message for c in repo.commits] == ["initial commit", "Upload"]
    assert repo.head.sha == sha
    uploaded = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert repo.head.files == {".gitattributes": GITATTRIBUTES, **uploaded}
    assert repo.head.lfs == {"model.safetensors"}
    put = [line for line in hub.transcript if line.startswith("PUT")]
    assert put == [f"PUT /storage/models/tester/round/{hashlib.sha256(WEIGHTS).hexdigest()} 200 {len(WEIGHTS)} bytes"]

    hub.transcript.clear()
    assert client(upload) == sha
    assert len(repo.commits) == 2
    assert not [line for line in hub.transcript if line.startswith("PUT") or "/commit/" in line]

    for name, data in uploaded.items():
        assert client.load("tester/round", name, token=False) == data
    assert "GET /tester/round/resolve/main/config.json 200 9 bytes" in hub.transcript
    snapshot = Path(client(f"snapshot_download('tester/round', cache_dir={str(folder.parent / 'cache')!r})"))
    assert {p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_file()} == set(repo.head.files)
    assert (snapshot / "model.safetensors").read_bytes() == WEIGHTS


def test_revisions(hub, client):
    old = hub.put("tester/tags", {"config.json": b"old", "gone.txt": b"", "deep/a": b"a", "deep/b": b"b"})
    client("api.create_tag('tester/tags', tag='v1/a')")
    assert client.error("api.create_tag('tester/tags', tag='v1/a')") == ("HfHubHTTPError", 409)
    client("api.delete_file('gone.txt', 'tester/tags')")
    client("api.delete_folder('deep', 'tester/tags')")
    new = client("api.upload_file(path_or_fileobj=b'new', path_in_repo='config.json', repo_id='tester/tags').oid")
    assert hub.repo("tester/tags").tags == {"v1/a": old}
    assert hub.repo("tester/tags").head.files == {"config.json": b"new"}
    assert client("[(t.name, t.target_commit) for t in api.list_repo_refs('tester/tags').tags]") == [["v1/a", old]]
    assert client("[c.commit_id for c in api.list_repo_commits('tester/tags')]")[0] == new
    for revision, data in {"v1/a": b"old", old: b"old", "main": b"new", new: b"new"}.items():
        assert client.load("tester/tags", "config.json", revision=revision) == data
    assert client("api.list_repo_files('tester/tags', revision='v1/a')") == [
        "config.json",
        "deep/a",
        "deep/b",
        "gone.txt",
    ]
    client("api.delete_tag('tester/tags', tag='v1/a')")
    assert client.error("api.model_info('tester/tags', revision='v1/a')") == ("RevisionNotFoundError", 404)
    client("api.delete_repo('tester/tags')")
    with pytest.raises(KeyError):
        hub.repo("tester/tags")


def test_what_is_said_about_files(hub, client):
    hub.put("tester/about", {"README.md": CARD, "deep/model.safetensors": WEIGHTS, "config.json": b"{}"})
    info = "api.model_info('tester/about', files_metadata={})"
    assert client(f"{info.format(False)}.siblings[0].size") is None
    assert client(f"{info.format(False)}.card_data.license") == "apache-2.0"
    sizes = client(f"[(s.rfilename, s.size, s.blob_id, s.lfs and s.lfs.sha256) for s in {info.format(True)}.siblings]")
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert sizes[1] == ["config.json", 2, git_sha1(b"{}"), None]
    assert [sizes[2][n] for n in (0, 1, 3)] == ["deep/model.safetensors", len(WEIGHTS), digest]
    assert client("[e.path for e in api.list_repo_tree('tester/about')]") == ["deep", "README.md", "config.json"]
    assert client("[e.path for e in api.list_repo_tree('tester/about', 'deep')]") == ["deep/model.safetensors"]
    found = client("[e.path for e in api.get_paths_info('tester/about', ['deep', 'config.json', 'missing'])]")
    assert found == ["deep", "config.json"]
    assert client("ModelCard.load('tester/about').data.tags") == ["oct"]
    assert client("[api.file_exists('tester/about', name) for name in ('config.json', 'missing')]") == [True, False]


def test_large_and_binary_files_go_to_lfs(hub, client):
    """The Hub then adds a line for them to .gitattributes."""
    client("api.create_repo('tester/large')")
    adds = {"big.txt": "b'.' * (10 * 2**20 + 1)", "plot.png": "b'\\x89PNG\\0'", "small.txt": "b'.'", "empty.bin": "b''"}
    operations = ", ".join(f"CommitOperationAdd({name!r}, {data})" for name, data in adds.items())
    client(f"api.create_commit('tester/large', [{operations}], commit_message='Large')")
    head = hub.repo("tester/large").head
    assert head.lfs == {"big.txt", "plot.png"}
    added = head.files[".gitattributes"].removeprefix(GITATTRIBUTES).decode().splitlines()
    assert [line.split()[0] for line in added] == ["big.txt", "plot.png"]
    assert client.load("tester/large", "big.txt") == head.files["big.txt"]
    copy = "CommitOperationCopy(src_path_in_repo='plot.png', path_in_repo='copy.png')"
    client(f"api.create_commit('tester/large', [{copy}], commit_message='Copy')")
    assert hub.repo("tester/large").head.files["copy.png"] == b"\x89PNG\0"


def test_commits_are_all_or_nothing(hub, client):
    hub.put("tester/whole", {"config.json": b"{}"})
    repo, header = hub.repo("tester/whole"), {"key": "header", "value": {"summary": "A change"}}
    add = {"key": "file", "value": {"path": "a.txt", "content": "YQ==", "encoding": "base64"}}
    lfs = {"key": "lfsFile", "value": {"path": "b.bin", "algo": "sha256", "oid": "0" * 64, "size": 3}}
    gone = {"key": "deletedFile", "value": {"path": "missing"}}
    outside = {"key": "file", "value": {"path": "../a.txt", "content": "YQ=="}}
    stale = {"key": "header", "value": {"summary": "A change", "parentCommit": repo.commits[0].sha}}
    commit = "/api/models/tester/whole/commit/main"
    for status, lines in ((400, [header, add, lfs]), (404, [header, add, gone]), (412, [stale, add]), (400, [add])):
        assert post(hub, commit, lines) == status
    assert post(hub, commit, [header, add, outside]) == 400
    assert len(repo.commits) == 2
    upload = "api.upload_file(path_or_fileobj=b'1', path_in_repo='b', repo_id='tester/whole', parent_commit={!r})"
    assert client.error(upload.format(repo.commits[0].sha)) == ("HfHubHTTPError", 412)
    assert client(upload.format(repo.head.sha))
    assert post(hub, commit, [header, add]) == 200
    assert repo.head.files == {"config.json": b"{}", "b": b"1", "a.txt": b"a"}


def test_uploads_must_be_announced_and_have_their_hash(hub):
    hub.put("tester/uploads", {})
    digest = hashlib.sha256(b"right").hexdigest()
    url = f"{hub.endpoint}/storage/models/tester/uploads/{digest}"

    def put(data: bytes) -> int:
        try:
            return urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=10).status
        except urllib.error.HTTPError as e:
            return e.code

    assert put(b"right") == 403
    lfs = "/tester/uploads.git/info/lfs/objects/"
    assert post(hub, f"{lfs}batch", [{"objects": [{"oid": digest, "size": 5}]}]) == 200
    assert put(b"wrong") == 400
    assert post(hub, f"{lfs}verify", [{"oid": digest, "size": 5}]) == 404
    assert put(b"right") == 200
    assert post(hub, f"{lfs}verify", [{"oid": digest, "size": 5}]) == 200


def test_cards_are_checked(hub, client):
    client("api.create_repo('tester/cards')")
    upload = "api.upload_file(path_or_fileobj={!r}, path_in_repo='README.md', repo_id='tester/cards')"
    index = b"---\nmodel-index:\n- name: a\n  results:\n  - task: {type: image-classification}\n---\n"
    for card in (b"---\nlicense: [\n---\n", b"---\n- a list\n---\n", index):
        assert client.error(upload.format(card))[0] == "ValueError"
    assert client(upload.format(b"# No front matter"))
    assert client("ModelCard('---\\nlicense: mit\\n---\\n').push_to_hub('tester/cards')")
    assert hub.repo("tester/cards").head.files["README.md"].startswith(b"---\nlicense: mit")


def test_spaces(hub, client, folder):
    assert client("api.create_repo('tester/demo', repo_type='space', space_sdk='gradio', private=True)").endswith(
        "/spaces/tester/demo"
    )
    repo = hub.repo("tester/demo", "space")
    assert (repo.sdk, repo.private, repo.hardware) == ("gradio", True, "cpu-basic")
    assert client("api.get_space_runtime('tester/demo').stage") == "NO_APP_FILE"
    upload = f"api.upload_folder(repo_id='tester/demo', repo_type='space', folder_path={str(folder)!r}).oid"
    assert client.error(upload)[0] == "ValueError"  # the card names no SDK
    (folder / "README.md").write_bytes(SPACE_CARD)
    (folder / "app.py").write_bytes(b"print()\n")
    assert client(upload) == repo.head.sha
    stages = [client("api.get_space_runtime('tester/demo').stage") for _ in range(3)]
    assert stages == ["BUILDING", "RUNNING", "RUNNING"]
    asked = client("api.request_space_hardware('tester/demo', 'zero-a10g', sleep_time=300).requested_hardware")
    assert asked == repo.hardware == "zero-a10g"
    assert client("api.space_info('tester/demo').runtime.sleep_time") == 300
    assert client("api.space_info('tester/demo').sdk") == "gradio"
    assert client.load("tester/demo", "app.py", repo_type="space") == b"print()\n"
    assert client.error("api.space_info('tester/demo', token=False)") == ("RepositoryNotFoundError", 401)


def test_errors_have_their_classes(hub, client):
    hub.put("tester/errors", {"config.json": b"{}"})
    hub.put("tester/private", {"config.json": b"{}"})
    hub.put("other/gated", {"config.json": b"{}"})
    hub.repo("tester/private").private = True
    hub.repo("other/gated").gated = True
    load = "hf_hub_download({!r}, {!r}, revision={!r}, token={!r})"
    for error, *arguments in (
        (("RepositoryNotFoundError", 404), "tester/none", "config.json", None, None),
        (("RepositoryNotFoundError", 401), "tester/none", "config.json", None, False),
        (("RepositoryNotFoundError", 401), "tester/private", "config.json", None, False),
        (("RevisionNotFoundError", 404), "tester/errors", "config.json", "v9", False),
        (("RemoteEntryNotFoundError", 404), "tester/errors", "missing", None, False),
        (("GatedRepoError", 401), "other/gated", "config.json", None, False),
        (("GatedRepoError", 403), "other/gated", "config.json", None, None),
        (("HfHubHTTPError", 401), "tester/errors", "config.json", None, "hf_wrong"),
    ):
        assert client.error(load.format(*arguments)) == error
    assert client.load("tester/private", "config.json") == b"{}"
    assert client("api.model_info('other/gated', token=False).gated") == "manual"
    assert client.error("api.model_info('tester/none')") == ("RepositoryNotFoundError", 404)


def test_only_the_token_writes(hub, client):
    hub.put("tester/closed", {"config.json": b"{}"})
    upload = "api.upload_file(path_or_fileobj=b'', path_in_repo='a', repo_id='tester/closed', token={!r})"
    for token, error in ((False, "RepositoryNotFoundError"), ("hf_wrong", "HfHubHTTPError")):
        assert client.error(upload.format(token)) == (error, 401)
        for call in ("create_tag('tester/closed', tag='v1'", "delete_repo('tester/closed'"):
            assert client.error(f"api.{call}, token={token!r})")[1] == 401
        assert client.error(f"api.create_repo('tester/new', token={token!r})") == ("HfHubHTTPError", 401)
    assert client.error("api.whoami(token='hf_wrong')") == ("HfHubHTTPError", 401)
    assert client("api.whoami()['name']") == hub.user
    assert len(hub.repo("tester/closed").commits) == 2
    assert not hub.repo("tester/closed").tags
    assert hub.token not in "".join(hub.transcript)


class TestFaults:
    @pytest.fixture(autouse=True)
    def repo(self, hub, request):
        """A repo of its own for each test, so that nothing of it is in the cache."""
        name = f"tester/{request.node.name}"
        hub.put(name, {"config.json": b'{"a": 1}\n', "model.safetensors": WEIGHTS})
        return name

    def test_cut_downloads_start_again(self, hub, client, repo):
        hub.fault("cut", "model.safetensors")
        assert client.load(repo, "model.safetensors") == WEIGHTS
        gets = [line.partition("model.safetensors ")[2] for line in hub.transcript if line.startswith("GET /storage")]
        assert gets == [f"200 {len(WEIGHTS)} bytes cut", f"200 {len(WEIGHTS)} bytes"]

    def test_cut_downloads_of_large_files_resume(self, hub, client, repo):
        """huggingface_hub writes 10 MiB at a time, and asks for the rest only of what it has written."""
        large, chunk = WEIGHTS * 1500, 10 * 2**20
        hub.put(repo, {"large.safetensors": large})
        hub.fault("cut", "large.safetensors")
        assert client.load(repo, "large.safetensors") == large
        gets = [line.partition("large.safetensors ")[2] for line in hub.transcript if line.startswith("GET /storage")]
        assert gets == [f"200 {len(large)} bytes cut", f"206 bytes {chunk}-{len(large) - 1}/{len(large)}"]

    def test_corrupt_downloads_have_the_right_size(self, hub, client, repo):
        hub.fault("corrupt", repo, times=0)
        wrong = client.load(repo, "model.safetensors")
        assert len(wrong) == len(WEIGHTS)
        assert wrong != WEIGHTS
        hub.heal()
        assert client.load(repo, "model.safetensors", force_download=True) == WEIGHTS

    def test_stalled_downloads_go_on_when_the_client_asks_again(self, hub, client, repo):
        hub.fault("stall", "config.json")
        assert client.load(repo, "config.json") == b'{"a": 1}\n'
        assert f"GET /{repo}/resolve/main/config.json 200 9 bytes stall" in hub.transcript

    def test_stalled_answers_go_on_when_healed(self, hub, repo):
        hub.fault("stall", "config.json", times=0)
        with urllib.request.urlopen(f"{hub.endpoint}/{repo}/resolve/main/config.json", timeout=10) as answer:
            hub.heal()
            assert answer.read() == b'{"a": 1}\n'

    def test_stalled_head_gets_no_headers(self, hub, client, repo):
        hub.fault("stall", "config.json", "HEAD")
        assert client.load(repo, "config.json") == b'{"a": 1}\n'

    def test_refused_connections(self, hub, client, repo):
        hub.fault("refuse", "config.json", times=0)
        assert client.error(f"hf_hub_download({repo!r}, 'config.json')") == ("RemoteProtocolError", None)
        assert f"HEAD /{repo}/resolve/main/config.json no answer" in hub.transcript

    def test_errors_of_the_server(self, hub, client, repo):
        hub.fault("error", "config.json", "GET")
        assert client.error(f"hf_hub_download({repo!r}, 'config.json')") == ("HfHubHTTPError", 503)
        hub.fault("error", "config.json")
        assert client.load(repo, "config.json") == b'{"a": 1}\n'

    def test_missing_files(self, hub, client, repo):
        hub.fault("missing", "config.json")
        assert client.error(f"hf_hub_download({repo!r}, 'config.json')") == ("RemoteEntryNotFoundError", 404)
        assert client.load(repo, "config.json") == b'{"a": 1}\n'

    def test_conflicts_and_lost_answers(self, hub, client, repo):
        upload = f"api.upload_file(path_or_fileobj=b'1', path_in_repo='a', repo_id={repo!r})"
        hub.fault("conflict")
        assert client.error(upload) == ("HfHubHTTPError", 412)
        assert "a" not in hub.repo(repo).head.files
        hub.fault("cut", "/commit/")
        assert client.error(upload)[0] == "RemoteProtocolError"
        assert hub.repo(repo).head.files["a"] == b"1"  # the commit was made, and its answer was lost

    def test_unknown_kind(self, hub):
        with pytest.raises(ValueError, match="expected one of refuse, error"):
            hub.fault("fire")


def test_environment_knows_no_other_hub(hub, tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://other")
    monkeypatch.setenv("KEPT", "yes")
    env = hub.environment(tmp_path, token=False)
    assert "http://other" not in env.values()
    assert env["KEPT"] == "yes"
    assert "HF_TOKEN" not in env
    assert hub.environment(tmp_path)["HF_TOKEN"] == hub.token
    assert (env["HF_ENDPOINT"], env["HF_HOME"]) == (hub.endpoint, str(tmp_path))
