"""The app as an assistant meets it: the real MCP client, over streamable HTTP, with the app on loopback."""

import asyncio
import base64
import io
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from octhub import __version__, read_scan
from octhub.measure import measure
from octhub.render import overlay

HANDFUL = 1e-5  # another process may sum in another order


@asynccontextmanager
async def session(server):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    address = f"{server.url}/gradio_api/mcp/"
    async with streamable_http_client(address) as (read, write, _), ClientSession(read, write) as client:
        client.greeting = await client.initialize()
        yield client


def run(ask):
    """What a coroutine gives. In a thread of its own: in this one, Playwright's loop runs from the first browser on."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, ask).result()


async def silently(*progress) -> None:
    """A client that asks for progress gets its answers by another way of Gradio's."""


@pytest.fixture
def call(server):
    """call(tool, **arguments) → its CallToolResult."""

    def call(tool: str, progress: bool = False, **arguments):
        async def ask():
            async with session(server) as client:
                return await client.call_tool(tool, arguments, progress_callback=silently if progress else None)

        return run(ask())

    return call


def base64_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def uploaded(server, path: Path) -> str:
    """The path that the upload route gives, as Gradio's own upload tool for assistants uses it."""
    reply = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (path.name, path.read_bytes())})
    return reply.raise_for_status().json()[0]


def words(result) -> str:
    assert result.isError
    return result.content[0].text


def test_tools_are_the_public_endpoints_and_described(server):
    async def ask():
        async with session(server) as client:
            return client.greeting, (await client.list_tools()).tools

    greeting, tools = run(ask())
    assert (greeting.serverInfo.name, greeting.serverInfo.version) == ("octhub", __version__)
    assert "not a medical device" in greeting.instructions
    tools = {tool.name: tool for tool in tools}
    assert tools.keys() == {"classify", "segment", "many", "about"}
    for tool in tools.values():
        assert "Returns: JSON with" in tool.description
        assert "Gradio" not in json.dumps(tool.model_dump())
        for argument in tool.inputSchema["properties"].values():
            assert argument["description"]
    image = tools["classify"].inputSchema["properties"]["image"]
    assert image["type"] == "string"
    assert "base64" in image["description"]
    assert tools["segment"].inputSchema["required"] == ["image"]


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize("form", ["bare", "data URI", "path", "address"])
def test_classify(call, server, root, classifier, form, progress):
    path = root / "examples" / "dme-1.jpeg"
    image = {
        "bare": base64_of(path),
        "data URI": f"data:image/jpeg;base64,{base64_of(path)}",
        "path": (place := uploaded(server, path)),
        "address": f"{server.url}/gradio_api/file={place}",
    }[form]
    result = call("classify", progress, image=image, opacity=30)
    assert not result.isError
    facts, picture, address = result.content
    expected = classifier(path, heatmap=True)
    facts = json.loads(facts.text)
    assert facts["label"] == expected.label == "DME"
    assert facts["probabilities"] == pytest.approx(expected.probabilities, abs=HANDFUL)
    assert picture.mimeType == "image/png"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.data))), int)
    assert np.abs(shown - overlay(read_scan(path), expected.heatmap, 0.3)).max() <= 2
    assert address.text.startswith("Image URL: http")


def test_segment(call, root, segmenter):
    scan, mask = root / "examples" / "healthy-1.png", root / "examples" / "healthy-1-mask.png"
    scale = {"axial_um": 3.87, "lateral_um": 11.5}
    result = call("segment", image=base64_of(scan), mask=base64_of(mask), **scale)
    assert not result.isError
    facts = json.loads(result.content[0].text)
    answer = segmenter(scan)
    assert [row["pixels"] for row in facts["areas"]] == [m.pixels for m in measure(answer.mask, answer.class_names)]
    assert facts["areas"][1]["area_mm2"] == pytest.approx(facts["areas"][1]["pixels"] * 3.87 * 11.5 / 1e6)
    assert facts["scores"]["miou"] == pytest.approx(answer.score(mask).miou, abs=1e-3)
    assert [c.type for c in result.content] == ["text", "image", "text", "image", "text", "text"]
    labels = np.asarray(Image.open(io.BytesIO(base64.b64decode(result.content[1].data))))
    assert np.array_equal(labels, answer.mask)
    alone = call("segment", image=base64_of(scan), mask=None, axial_um=None)
    assert json.loads(alone.content[0].text)["scores"] is None


def test_many(call, server, root):
    scans = [root / "examples" / name for name in ("dme-1.jpeg", "cnv-1.jpeg")]
    files = [base64_of(scans[0]), uploaded(server, scans[1])]
    for progress in (False, True):
        facts, results = call("many", progress, files=files, segment=False).content
        assert [row["label"] for row in json.loads(facts.text)["table"]] == ["DME", "CNV"]
        assert results.text.endswith(".zip")
    assert "expected base64" in words(call("many", files=[base64_of(scans[0]), "http://198.51.100.1/scan.png"]))


def test_about(call):
    (facts,) = call("about").content
    assert json.loads(facts.text)["models"]["classifier"]["class_names"] == ["CNV", "DME", "DRUSEN", "NORMAL"]


@pytest.mark.parametrize("progress", [False, True])
def test_what_is_wrong_is_said(call, server, scans, progress):
    def error(**arguments) -> str:
        return words(call("classify", progress, **arguments))

    assert "not a known kind of image" in error(image=base64_of(scans["broken.png"]))
    assert "image.png: not a known kind of image" in error(image="data:image/png;base64,AAAA")
    assert "image: not base64" in error(image="no scan")
    assert "image: a data URI without base64" in error(image="data:image/png,abc")
    assert "'GLAUCOMA' is not one of" in error(image=base64_of(scans["scan.png"]), heatmap_class="GLAUCOMA")
    assert "mask" in words(call("segment", progress, image=base64_of(scans["scan.png"]), mask="AAAA"))
    gone = f"{server.url}/gradio_api/file={server.uploads}/0/scan.png"
    assert "not, or no longer, an uploaded file" in error(image=gone)


class TestDoorsAreShut:
    @pytest.fixture
    def bait(self):
        """A server that must never be asked: its address, and the requests that came."""
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            do_HEAD = do_GET

            def log_message(self, *args) -> None:
                """`asked` says it."""

        with HTTPServer(("127.0.0.1", 0), Handler) as web:
            threading.Thread(target=web.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{web.server_port}", asked
            web.shutdown()

    @pytest.mark.parametrize("progress", [False, True])
    def test_no_address_is_fetched(self, call, bait, progress):
        address, asked = bait
        for image in (f"{address}/scan.png", f"{address.upper()}/SCAN.PNG", f"{address}/gradio_api/file=/scan.png"):
            assert "expected base64" in words(call("classify", progress, image=image))
            assert "expected base64" in words(call("segment", progress, image=image, mask=image))
        assert asked == []

    def test_files_of_the_server_stay_there(self, call, server, scans, root):
        inside = uploaded(server, scans["scan.png"])
        for path in (
            str(scans["scan.png"]),
            f"{server.url}/gradio_api/file={scans['scan.png']}",
            f"{Path(inside).parent}/../../../../../..{scans['scan.png']}",
            f"{server.url}/gradio_api/file={Path(inside).parent}/../../../../../..{scans['scan.png']}",
            f"file://{scans['scan.png']}",
            str(root / "examples" / "dme-1.jpeg"),
        ):
            assert call("classify", image=path).isError
        file = {"path": str(scans["scan.png"]), "meta": {"_type": "gradio.FileData"}}
        for arguments in ({"image": file}, {"image": inside, "heatmap_class": file}, {"image": inside, "other": file}):
            assert call("classify", **arguments).isError

    def test_what_is_too_large_is_not_read(self, server):
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        request["params"] = {"name": "classify", "arguments": {"image": "A" * 5_000_000}}
        headers = {"Accept": "application/json, text/event-stream"}
        assert httpx.post(f"{server.url}/gradio_api/mcp/", json=request, headers=headers).status_code == 413

    def test_base64_is_deleted_as_uploads_are(self, app, classifier, scans, monkeypatch, tmp_path):
        from gradio.route_utils import delete_files_created_by_app

        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
        demo = app().build_demo(classifier)
        assistants = sys.modules["assistants"]
        tools = assistants.ToolServer.__new__(assistants.ToolServer)
        tools.blocks = demo
        demo.max_file_size = 100_000_000
        found = tools.convert_strings_to_filedata({"image": base64_of(scans["scan.png"])}, [["image"]])
        path = Path(found["image"]["path"])
        assert path.read_bytes() == scans["scan.png"].read_bytes()
        assert path.is_relative_to(tmp_path / "cache")
        delete_files_created_by_app(demo, age=None)
        assert not path.exists()
        demo.max_file_size = 10
        with pytest.raises(ValueError, match="more than"):
            tools.convert_strings_to_filedata({"image": "A" * 40}, [["image"]])


def test_the_pinned_gradio_is_the_one_that_was_looked_into(app):
    """assistants.py overrides methods of this version's server; they have to be there."""
    import gradio.mcp

    own = gradio.mcp.GradioMCPServer
    app()
    assistants = sys.modules["assistants"]
    for name in (
        "convert_strings_to_filedata",
        "get_input_schema",
        "postprocess_output_data",
        "_execute_tool_without_progress",
        "_file_data_tool_description",
    ):
        assert name in vars(assistants.ToolServer)
        assert name in dir(assistants.ToolServer.__mro__[1])
    assert gradio.mcp.GradioMCPServer is own  # importing changes nothing
