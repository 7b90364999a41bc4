"""What the server takes in: uploads within limits, whole ones, and questions of a sane length."""

import asyncio
import http.client
import socket
import sys
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import pytest
from own_loop import run

UPLOAD = "/gradio_api/upload"


@pytest.fixture
def door(app):
    app()
    return sys.modules["door"]


def post(door, entrance, path: str, chunks: list[bytes], length: int | None = None):
    """Send a request through the door to an app that reads it all: (status, bytes read), or what the app was raised."""
    said, read = [], []

    async def inside(scope, receive, send):
        more = True
        while more:
            message = await receive()
            read.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200})

    async def receive():
        await asyncio.sleep(0)
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message):
        said.append(message)

    entrance.app = inside
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    run(entrance(scope, receive, send))
    return said[0]["status"], sum(map(len, read))


class TestUploads:
    def test_those_of_half_an_hour_have_a_limit(self, door, monkeypatch):
        monkeypatch.setattr(door, "UPLOADS", 10 * door.EACH)
        entrance = door.Door(None)
        assert post(door, entrance, UPLOAD, [b"x" * 1000], 1000) == (200, 1000)
        assert entrance.held() == door.EACH + 1000
        assert post(door, entrance, UPLOAD, [b""], 9 * door.EACH) == (413, 0)
        with pytest.raises(door.MultiPartException, match="as many uploads as it can"):  # its length wasn't said
            post(door, entrance, UPLOAD, [b"x" * door.EACH] * 10)
        clock = time.monotonic() + door.HELD + 120
        monkeypatch.setattr(door, "time", SimpleNamespace(monotonic=lambda: clock))
        assert entrance.held() == 0
        assert post(door, entrance, UPLOAD, [b"x"], 1) == (200, 1)

    def test_one_that_stalls_is_given_up(self, door, monkeypatch):
        monkeypatch.setattr(door, "STALLED", 0.05)

        async def upload():
            await asyncio.wait_for(door.Door(None)._uploaded(asyncio.Event().wait)(), 5)

        with pytest.raises(door.MultiPartException, match="nothing came"):
            run(upload())

    def test_one_that_breaks_off_leaves_nothing(self, server):
        address, folder = urlsplit(server.url), server.uploads
        before = set(folder.iterdir())
        body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="half.png"\r\n\r\n' + b"x" * 200_000
        head = f"POST {UPLOAD} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        with socket.create_connection((address.hostname, address.port)) as line:
            line.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode() + body)
            within(10, lambda: set(folder.iterdir()) - before)  # it is being written
        within(10, lambda: not set(folder.iterdir()) - before)

    def test_the_message_reaches_who_uploads(self, server):
        answer = httpx.post(f"{server.url}{UPLOAD}", headers={"Content-Type": "multipart/form-data"}, content=b"x")
        assert answer.status_code == 400
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        connection.request("POST", UPLOAD, headers={"Content-Length": str(9_000_000_000)})
        answer = connection.getresponse()
        assert answer.status == 413
        assert answer.read().startswith(b"An upload of more than 2 GB (maximum allowed size)")


def test_questions_have_a_limit(door, server):
    entrance = door.Door(None)
    assert post(door, entrance, "/gradio_api/queue/join", [b"x"], 1) == (200, 1)
    assert post(door, entrance, "/gradio_api/queue/join", [b""], door.QUESTION + 1) == (413, 0)
    with pytest.raises(door.HTTPException):
        post(door, entrance, "/gradio_api/queue/join", [b"x" * 1_000_000] * 6)
    with pytest.raises(door.HTTPException):  # named like an upload, and read as JSON
        post(door, entrance, "/gradio_api/call/upload", [b"x" * 1_000_000] * 6)
    assert entrance.held() == 0
    for content in (b"x" * 6_000_000, iter([b"[" * 1_000_000] * 6)):  # with its length, and in chunks
        answer = httpx.post(f"{server.url}/gradio_api/call/classify", content=content)
        assert answer.status_code == 413
        assert "expected a file to be uploaded" in answer.text


def test_scans_of_assistants_count_among_the_uploads(door, monkeypatch):
    monkeypatch.setattr(door, "UPLOADS", 4 * door.EACH)
    entrance = door.Door(None)
    assert post(door, entrance, "/gradio_api/mcp/", [b"x" * door.EACH], door.EACH)[0] == 200
    assert entrance.held() == 2 * door.EACH
    assert post(door, entrance, "/gradio_api/mcp", [b"x" * 2 * door.EACH], 2 * door.EACH) == (413, 0)


def within(seconds: float, true) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
