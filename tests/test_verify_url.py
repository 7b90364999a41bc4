"""`verify --url` against the running app, and against what is no such app."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from octhub.__main__ import main
from octhub.connect import RemoteError, connect
from octhub.gallery import EXAMPLES, load, record
from octhub.mask import UNKNOWN
from octhub.mask_render import label_png
from octhub.predict import Segmentation
from octhub.remote import AnswerError, RemoteApp

SECRET = "hf_" + "x" * 34


@pytest.fixture(scope="module")
def promised(tmp_path_factory, segmenter):
    """The gallery, with what the server's small segmenter keeps of its promises."""
    folder = tmp_path_factory.mktemp("promised") / "examples"
    shutil.copytree(EXAMPLES, folder)
    for number, example in enumerate(load(folder)):
        if example.segment and not example.mask:
            ids = segmenter(example.path).mask
            largest = np.bincount(ids[ids != UNKNOWN]).argmax()
            edit(folder, number, segment={"class": segmenter.class_names[largest]})
    assert all(outcome.ok for outcome in record(None, folder, segmenter))
    return folder


@pytest.fixture
def gallery(promised, tmp_path):
    """A copy to change, of three examples: one for the classifier, one for both models, one with a mask."""
    folder = shutil.copytree(promised, tmp_path / "examples")
    path = folder / "manifest.json"
    entries = json.loads(path.read_text())["examples"]
    kept = [e for e in entries if e["file"] in ("cnv-1.jpeg", "dme-1.jpeg", "healthy-1.png")]
    path.write_text(json.dumps({"examples": kept}))
    return folder


def edit(folder, number: int, **changes) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["examples"][number].update(changes)
    path.write_text(json.dumps(manifest))


def verify(url: str, folder, *options: str) -> int:
    return main(["verify", "--url", url, "--examples", str(folder), *options])


@pytest.fixture
def serve():
    """serve((status, body), …) → a server that says these in turn, and the last one for ever: its url, and the headers
    that it was asked with."""
    servers = []

    def serve(*replies: tuple[int, str]):
        seen, left = [], list(replies)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append({k.lower(): v for k, v in self.headers.items()})
                status, body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", seen=seen)

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class TestAgainstTheApp:
    def test_all_examples_agree(self, root, server, promised):
        env = os.environ | {"HF_TOKEN": SECRET, "HF_HUB_OFFLINE": "1"}
        code = "import sys, octhub.remote; from octhub.__main__ import main; assert 'gradio_client' not in sys.modules"
        command = [sys.executable, "-c", f"{code}; sys.exit(main())", "verify"]
        command += ["--url", server.url, "--examples", str(promised)]
        ended = subprocess.run(command, check=False, cwd=root, env=env, capture_output=True, text=True, timeout=300)
        assert (ended.returncode, ended.stderr) == (0, "")
        *lines, last = ended.stdout.splitlines()
        assert last == f"10 of 10 examples agree with the manifest at {server.url}"
        assert len(lines) == 12
        assert all(re.match(r" *\d+\.\d\d s  ok   \S+ +\S", line) for line in lines)
        assert re.search(r"s  ok   cnv-1.jpeg       CNV     0\.\d{4} \(expected CNV 0\.\d{4} ± 0.02\)$", lines[0])
        assert re.search(r"s  ok   healthy-2.png    mIoU (0\.\d{4})    \(expected mIoU \1 ± 0.02\)$", lines[-1])

    def test_broken_promises_fail(self, server, gallery, capsys):
        edit(gallery, 0, probability=0.1)
        segment = json.loads((gallery / "manifest.json").read_text())["examples"][2]["segment"]
        edit(gallery, 2, segment=segment | {"miou": segment["miou"] + 0.1})
        assert verify(server.url, gallery) == 1
        first, *agreed, last, count = capsys.readouterr().out.splitlines()
        assert "FAIL cnv-1.jpeg" in first
        assert first.endswith(": probability outside the tolerance")
        assert [" ok " in line for line in agreed] == [True, True]
        assert last.endswith(": miou outside the tolerance")
        assert count == f"1 of 3 examples agree with the manifest at {server.url}"

    def test_what_the_app_refuses_fails_with_its_message_and_the_rest_goes_on(self, server, gallery, capsys):
        for number, (name, text) in enumerate([("cnv-1.jpeg", b"no picture"), ("gone.jpeg", None)]):
            if text:
                (gallery / name).write_bytes(text)
            edit(gallery, number, file=name, sha256=hashlib.sha256(text or b"").hexdigest())
        assert verify(server.url, gallery) == 1
        refused, missing, agreed, count = capsys.readouterr().out.splitlines()
        assert re.search(r"FAIL cnv-1.jpeg .*: refused: cnv-1.jpeg: .*expected", refused)
        assert missing.startswith("     – s  FAIL gone.jpeg")
        assert "ok   healthy-1.png" in agreed
        assert count.startswith("1 of 3 examples")

    def test_space_is_found_by_its_id(self, server, gallery, monkeypatch, capsys):
        asked = []

        def space_info(space_id):
            asked.append(space_id)
            return SimpleNamespace(host=server.url, runtime=SimpleNamespace(stage="RUNNING"))

        monkeypatch.setattr("huggingface_hub.space_info", space_info)
        assert verify("owner/name", gallery) == 0
        with connect("https://huggingface.co/spaces/owner/name", 30) as client:
            assert client.src == f"{server.url}/"
        assert asked == ["owner/name"] * 2
        assert "3 of 3 examples agree with the manifest at owner/name" in capsys.readouterr().out


class TestNoSuchApp:
    def test_nothing_listens(self, gallery, capsys):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        started = time.monotonic()
        assert verify(url, gallery, "--timeout", "0.5") == 2
        assert time.monotonic() - started < 10
        printed = capsys.readouterr()
        assert f"waiting for {url}, 0 of 0.5 s: " in printed.err
        assert f"error: {url}: no answer within 0.5 s: " in printed.err
        assert "refused" in printed.err
        assert printed.out == ""

    def test_no_gradio_app_and_no_token_for_it(self, serve, gallery, monkeypatch, capsys):
        monkeypatch.setenv("HF_TOKEN", SECRET)
        for reply in [(200, "<html>hello"), (404, "{}"), (200, "7"), (401, "{}")]:
            other = serve(reply)
            assert verify(other.url, gallery) == 2
            error = f"error: {other.url}: HTTP {reply[0]} without a Gradio app, expected octhub's\n"
            assert capsys.readouterr().err == error
            assert SECRET not in str(other.seen)

    def test_another_gradio_app(self, serve, gallery, capsys):
        config = {"version": "6.31.0", "protocol": "sse_v3", "dependencies": [], "components": []}
        info = {"named_endpoints": {"/greet": {"parameters": [], "returns": []}}, "unnamed_endpoints": {}}
        other = serve((200, json.dumps(config | info)))
        assert verify(other.url, gallery) == 2
        error = f"error: {other.url}/: no endpoint /classify and /segment, expected octhub's app\n"
        assert capsys.readouterr().err == error

    def test_app_that_starts_is_waited_for(self, serve, monkeypatch):
        monkeypatch.setattr("octhub.connect.PAUSE_SECONDS", 0.01)
        starting, told = serve((503, "starting"), (502, "starting"), (404, "")), []
        with pytest.raises(RemoteError, match="HTTP 404 without"), connect(starting.url, 30, told.append):
            pass
        assert [re.sub(r"\d+ of", "n of", t) for t in told] == [
            f"waiting for {starting.url}, n of 30 s: HTTP {status}" for status in (503, 502)
        ]

    @pytest.mark.parametrize("address", ["", "localhost:7860", "octhub", "ftp://host/", "http://", "http://a:b"])
    def test_no_address(self, gallery, address, capsys):
        assert verify(address, gallery) == 2
        assert f"error: {address}: no address of an app" in capsys.readouterr().err

    def test_spaces_that_no_waiting_helps(self, gallery, monkeypatch, capsys):
        from huggingface_hub.errors import RepositoryNotFoundError

        def none(space_id):
            raise RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))

        paused = SimpleNamespace(host="https://owner-name.hf.space", runtime=SimpleNamespace(stage="PAUSED"))
        monkeypatch.setattr("huggingface_hub.space_info", lambda space_id: paused)
        assert verify("owner/name", gallery) == 2
        assert "owner/name: the Space is in stage PAUSED, expected RUNNING" in capsys.readouterr().err
        monkeypatch.setattr("huggingface_hub.space_info", none)
        assert verify("owner/name", gallery) == 2
        assert "owner/name: no such Space" in capsys.readouterr().err

    def test_without_gradio_client(self, gallery, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "gradio_client", None)
        assert verify("http://127.0.0.1:1", gallery) == 2
        assert "pip install gradio_client" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--record"], "--record with --url"),
        (["--classifier", "checkpoints/octnet-oct2017"], "--classifier with --url"),
        (["--segmenter", "", "--device", "cpu"], "--segmenter, --device with --url"),
    ],
)
def test_options_that_mean_nothing_to_an_app_are_refused(options, message, capsys):
    assert main(["verify", "--url", "http://127.0.0.1:1", *options]) == 2
    assert f"error: {message}: the app there has its own models" in capsys.readouterr().err


def test_timeout(capsys):
    assert main(["verify", "--timeout", "5"]) == 2
    assert "--timeout without --url" in capsys.readouterr().err
    for seconds in ("0", "inf", "soon"):
        with pytest.raises(SystemExit, match="2"):
            main(["verify", "--url", "http://127.0.0.1:1", "--timeout", seconds])


class Says:
    """A client of an app that says what it is told to."""

    def __init__(self, answer):
        self.answer = answer

    def submit(self, *args, api_name):
        return self

    def result(self, timeout):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self):
        self.cancelled = True


class TestAnswers:
    NAMES = ("layer", "fluid")

    @pytest.fixture
    def said(self, tmp_path):
        """What an app says of a scan that is half fluid, and the expert's mask."""
        ids = np.zeros((40, 60), np.uint8)
        ids[20:] = 1
        truth = ids.copy()
        truth[20:30, :30] = 0
        for name, mask in {"labels": ids, "truth": truth}.items():
            (tmp_path / f"{name}.png").write_bytes(label_png(mask, self.NAMES))
        scores = Segmentation(ids, self.NAMES).score(truth).as_dict()
        areas = [{"name": name, "pixels": 1200} for name in self.NAMES]
        return {"areas": areas, "scores": scores}, tmp_path / "labels.png", tmp_path / "truth.png"

    def segment(self, facts, labels, mask):
        return RemoteApp(Says((facts, str(labels), "", "")), 1).segment(labels, mask)

    def test_figures_that_the_labels_keep(self, said):
        answer = self.segment(*said)
        assert answer.class_names == self.NAMES
        assert (answer.mask == 1).sum() == 1200
        facts, labels, _ = said
        assert self.segment(facts | {"scores": None}, labels, None).class_names == self.NAMES

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"areas": [{"name": "layer", "pixels": 1200}, {"name": "fluid", "pixels": 1100}]},
                "says fluid 1100 px.* has 1200",
            ),
            ({"areas": [{"name": "layer", "pixels": 2400}]}, "id 1 without a class"),
            ({"scores": {"miou": 0.9}}, r"says mIoU 0\.9, its label PNG gives 0\.7\d+$"),
            ({"scores": {"miou": None}}, "says mIoU None"),
            ({"scores": None}, "/segment answered what octhub would not: TypeError"),
        ],
    )
    def test_figures_that_the_labels_contradict(self, said, change, message):
        facts, *files = said
        with pytest.raises(AnswerError, match=message):
            self.segment(facts | change, *files)

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (({"label": "CNV"}, "x.png"), "/classify answered what octhub would not: KeyError"),
            ("hello", "/classify answered what octhub would not"),
            (TimeoutError(), "no answer within 1 s"),
            (ConnectionError("gone\nfor good"), "no answer: ConnectionError gone for good"),
        ],
    )
    def test_no_answer(self, answer, message, tmp_path):
        (tmp_path / "scan.png").touch()
        client = Says(answer)
        with pytest.raises(AnswerError, match=message):
            RemoteApp(client, 1).classify(tmp_path / "scan.png")
        assert hasattr(client, "cancelled") == isinstance(answer, TimeoutError)
