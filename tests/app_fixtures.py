"""The running app, browsers and API clients for its tests: one server for all of them (fixtures; see conftest.py)."""

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from browser import Watch, chromium
from PIL import Image

from benchmarks.running_app import clean_environment, free_port, serving

CLASS_NAMES = (
    "above retina",
    "NFL",
    "GCL-IPL",
    "INL",
    "OPL",
    "ONL-ISM",
    "ISE",
    "OS-RPE",
    "below retina",
    "fluid",
)
ABSENT = "fluid"
"""The class that the tests' segmenter never finds."""


@pytest.fixture(scope="session")
def segmenter_folder(root, tmp_path_factory):
    """A small UNet's checkpoint. It knows nothing, but its answers hold all classes except ABSENT, in large regions."""
    import torch

    from octhub import ServingConfig, UNet, read_scan
    from octhub.preprocess import preprocess

    serving = ServingConfig(CLASS_NAMES, (64, 96), framing="whole")
    scan = read_scan(root / "examples" / "cnv-1.jpeg")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        channels = (32, 16, 16, 8, 8)
        model = UNet(num_classes=10, encoder="resnet10t", decoder_channels=channels, serving=serving)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        input = preprocess(scan, serving)[0][None]
        model.train()(input)  # the batch norms see one scan, so that the features aren't all alike
        bias = model.decoder[-1].score.bias
        bias -= model.eval()(input).mean((0, 2, 3))  # and no class is likelier than another
        bias[CLASS_NAMES.index(ABSENT)] = -1e4
    folder = tmp_path_factory.mktemp("segmenter")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def segmenter(segmenter_folder):
    """What the server runs, in this process."""
    from octhub import Segmenter

    return Segmenter.from_pretrained(segmenter_folder)


@pytest.fixture(scope="session")
def server(root, tmp_path_factory, segmenter_folder):
    """The app on loopback, started from another folder, without a Hub: its URL and process, where it keeps uploads, and
    the folder of all else that it may write."""
    home = tmp_path_factory.mktemp("server")
    elsewhere = home / "elsewhere"
    (elsewhere / "tmp").mkdir(parents=True)
    port = free_port()
    env = clean_environment(home / "uploads") | {"HOME": str(elsewhere), "TMPDIR": str(elsewhere / "tmp")}
    command = [sys.executable, str(root / "app.py"), "--port", str(port), "--segmenter", str(segmenter_folder)]
    url = f"http://127.0.0.1:{port}"
    with serving(command, url, elsewhere, env, home / "log", patience=120) as process:
        yield SimpleNamespace(url=url, process=process, uploads=home / "uploads", log=home / "log", elsewhere=elsewhere)


@pytest.fixture(scope="session")
def browser():
    """One visitor's browser for all tests, so that Gradio's scripts are fetched once; every page is a new session."""
    with chromium() as chrome, chrome.new_context() as context:
        yield context


@pytest.fixture
def visit(browser, server):
    """Open the page: visit(width=…, dark=…, tab=…) → page, whose `watch` must have seen no problem in the end; or
    visit(query="?…") for a link into it."""
    pages = []

    def visit(width: int = 1440, height: int = 900, dark: bool = False, tab: str = "Classify", query: str = ""):
        page = browser.new_page()
        pages.append(page)
        page.set_default_timeout(30_000)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.watch = Watch(page, server.url)
        page.goto(server.url + query)
        page.locator("html[data-octhub=ready]").wait_for(state="attached")
        if query:
            return page
        page.get_by_role("tab", name=tab).click()
        page.locator(f"#{tab.lower()}-viewer").get_by_text("No scan yet").wait_for()
        page.locator(".scan-file:visible input[type=file]").wait_for(state="attached")
        return page

    yield visit
    for page in pages:
        page.close()
    problems = [p for page in pages for p in page.watch.problems]
    assert not problems, problems


def upload(page, path: Path, zone: str = "scan-file") -> None:
    """Choose a file in the open tab's drop zone."""
    page.locator(f".{zone}:visible input[type=file]").set_input_files(path)


def assert_came_from(provenance: dict, predictor, path: Path) -> None:
    """A record says which model answered, from which file."""
    model, given = provenance["model"], provenance["input"]
    assert model["source"] == predictor.model.origin.folder.name
    assert model["sha256"] == predictor.model.weights_sha256
    assert model["class_names"] == list(predictor.class_names)
    assert given["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (given["file"], given["sha256_of"]) == (path.name, "file")
    assert provenance["time"].endswith("Z")
    assert "Research use only" in provenance["note"]


@pytest.fixture(scope="session")
def scans(root, tmp_path_factory):
    """Scans as visitors bring them: name → path, each of another size."""
    folder = tmp_path_factory.mktemp("scans")
    source = np.asarray(Image.open(root / "examples" / "cnv-1.jpeg").convert("L"))
    eight = source[20:470, 100:612]
    # Not a multiple of 257: an app that cuts 16 bits to 8 would be found out
    sixteen = (source[:-7].astype(np.uint16) * 251 + np.arange(source.shape[1], dtype=np.uint16)).clip(0, 65535)
    made = {
        "scan.png": Image.fromarray(eight),
        "deep.png": Image.fromarray(sixteen.astype(np.uint16)),
        "deep.tiff": Image.fromarray(sixteen[:400].astype(np.uint16)),
        "plain.bmp": Image.fromarray(eight[:300, :400]),
    }
    for name, image in made.items():
        image.save(folder / name)
    (folder / "broken.png").write_text("this is no picture")
    return {p.name: p for p in folder.iterdir()}


@pytest.fixture(scope="session")
def connect(server, tmp_path_factory):
    """connect() → an API client, as another user of the server."""
    from gradio_client import Client

    return lambda: Client(server.url, download_files=tmp_path_factory.mktemp("client"), verbose=False)


@pytest.fixture(scope="session")
def client(connect):
    return connect()


@pytest.fixture
def app(root, monkeypatch):
    """app() imports app.py anew, with its siblings. What they put in Gradio's place goes with them."""
    import importlib

    import gradio.mcp
    import gradio.route_utils
    import gradio.state_holder

    monkeypatch.setattr(gradio.mcp, "GradioMCPServer", gradio.mcp.GradioMCPServer)
    for module in (gradio.state_holder, gradio.route_utils):
        monkeypatch.setattr(module, "SessionState", module.SessionState)
    siblings = [path.stem for path in root.glob("*.py")]
    monkeypatch.syspath_prepend(str(root))
    for name in siblings:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield lambda: importlib.import_module("app")
    for name in siblings:
        sys.modules.pop(name, None)


@pytest.fixture
def zero_gpu(monkeypatch):
    """As on a ZeroGPU Space, what runs on the GPU runs in a fork: arguments and results are pickled. A list of the
    seconds that each such run asked for."""
    import pickle

    crossings = []

    def gpu(duration):
        def decorate(fn):
            def forked(*args):
                crossings.append(duration)
                return pickle.loads(pickle.dumps(fn(*pickle.loads(pickle.dumps(args)))))

            return forked

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    return crossings
