"""What a running server must not do for whoever asks it: hand out files, fetch addresses, read without end."""

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from PIL import Image

from octhub.scan import MAX_BYTES, MAX_PIXELS
from octhub.served import app_facts, served

SECRET = "nobody-else-s-business"


@pytest.fixture(scope="module")
def secret(server) -> Path:
    """A file in the server's working directory, and beside its uploads."""
    path = server.uploads.parent / "secret.txt"
    path.write_text(SECRET)
    return path


def ask(server, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """One request with the path as it stands: other clients would set its dots right."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        if body is not None:
            headers |= {"Content-Length": str(len(body))}
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def routes(path: str) -> list[str]:
    """Where a server might hand out a file, each with the path in several disguises."""
    up = "../" * 12
    disguises = [path, f"{up}{path[1:]}", quote(path, safe=""), quote(f"{up}{path[1:]}", safe="")]
    disguises += [f"{'%2e%2e/' * 12}{path[1:]}", f"{'..%5c' * 12}{path[1:]}", f"....//{'..;/' * 12}{path[1:]}"]
    doors = "/gradio_api/file=", "/gradio_api/file/", "/static/", "/assets/", "/svelte/", "/pwa_icon/", "/"
    doors += ("/gradio_api/custom_component/x/client/", "/gradio_api/mcp/", "/theme.css/", "/gradio_api/stream/a/b/c/")
    return [door + disguise for door in doors for disguise in disguises]


class TestFiles:
    def test_no_way_leads_to_a_file_that_was_not_uploaded(self, server, secret, root):
        marks = {secret: SECRET, root / "app.py": "def build_demo", Path("/etc/passwd"): "root:x:0:0"}
        for path, mark in marks.items():
            assert mark in path.read_text()
            for route in [*routes(str(path)), f"/gradio_api/file=file://{path}", f"/?deep_link={quote(str(path))}"]:
                status, body = ask(server, route)
                assert mark.encode() not in body, route
                assert status in (307, 400, 403, 404, 405, 406) or b"<html" in body.lower(), (route, status)

    def test_no_name_leads_an_upload_elsewhere(self, server):
        before = {p for p in server.uploads.parent.rglob("*") if not p.is_relative_to(server.uploads)}
        names = (
            "../../evil",
            "..\\..\\evil",
            "/evil",
            "a/../../evil",
            "..",
            ".",
            "%2e%2e%2fevil",
            "C:\\evil",
            "\\\\host\\evil",
        )
        for name in (*names, "evil\x01", "a" * 150):
            reply = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (name, b"evil")})
            if reply.status_code == 400:
                continue
            (path,) = reply.raise_for_status().json()
            assert Path(path).resolve().is_relative_to(server.uploads.resolve())
            assert Path(path).read_bytes() == b"evil"
        assert {p for p in server.uploads.parent.rglob("*") if not p.is_relative_to(server.uploads)} == before
        assert not [p for p in server.uploads.rglob("*") if p.is_symlink()]

    def test_a_zip_with_a_link_makes_none(self, client, server, secret, tmp_path):
        import zipfile

        from gradio_client import handle_file

        with zipfile.ZipFile(tmp_path / "link.zip", "w") as file:
            link = zipfile.ZipInfo("link.png")
            link.create_system, link.external_attr = 3, 0o120777 << 16
            file.writestr(link, str(secret))
        table, _ = client.predict([handle_file(str(tmp_path / "link.zip"))], api_name="/many")
        (row,) = table["table"]
        assert row["error"]
        assert SECRET not in json.dumps(table)
        assert not [p for p in server.uploads.rglob("*") if p.is_symlink()]

    def test_one_visitors_state_is_no_file(self, server):
        before = {p for p in server.uploads.rglob("*")}
        assert ask(server, "/gradio_api/deep_link?session_hash=x")[0] == 404
        assert {p for p in server.uploads.rglob("*")} == before


class TestAddresses:
    def test_nothing_is_fetched(self, server):
        """Not from this machine, where the server itself would be trusted, nor from any other."""
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            do_HEAD = do_POST = do_GET

            def log_message(self, *args) -> None:
                """`asked` says it."""

        with HTTPServer(("127.0.0.1", 0), Handler) as web:
            threading.Thread(target=web.serve_forever, daemon=True).start()
            port = web.server_port
            for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::ffff:127.0.0.1]:{port}", f"127.1:{port}"):
                for scheme in ("http", "HTTP", "https"):
                    address = f"{scheme}://{host}/x.png"
                    for door in ("file=", "file/", "proxy=", "file=%20"):
                        for form in (address, quote(address, safe="")):
                            assert ask(server, f"/gradio_api/{door}{form}")[0] in (403, 404)
                            assert ask(server, f"/gradio_api/{door}{form}", "HEAD")[0] in (403, 404)
            web.shutdown()
        assert asked == []
        for address in ("http://198.51.100.1/x.png", "https://huggingface.co/x"):  # Gradio would fetch a public one
            assert ask(server, f"/gradio_api/file={address}") == (404, b"Not Found")


class TestClosed:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/gradio_api/process_recording"),
            ("POST", "/gradio_api/component_server"),
            ("POST", "/gradio_api/component_server/"),
            ("GET", "/gradio_api/custom_component/a/client/b/c"),
            ("POST", "/gradio_api/stream/0"),
            ("GET", "/gradio_api/vibe-code"),
            ("POST", "/gradio_api/vibe-edit"),
            ("POST", "/gradio_api/undo-vibe-edit"),
            ("POST", "/gradio_api/run-history/connect"),
            ("GET", "/gradio_api/%64eep_link?session_hash=x"),
        ],
    )
    def test_what_the_page_does_not_need(self, server, method, path):
        assert ask(server, path, method, b"{}", Content_Type="application/json") == (404, b"Not Found")

    @pytest.mark.parametrize("path", ["/monitoring", "/monitoring/", "/monitoring/key", "/dev/reload"])
    def test_nobody_is_watched(self, server, path):
        assert ask(server, path)[0] in (403, 404)
        status, summary = ask(server, "/monitoring/summary")[:2]  # the API's page asks for it
        assert status == 200
        assert json.loads(summary) == {"functions": {}}

    def test_no_way_passes_by_the_queue(self, server, scans):
        place = httpx.post(f"{server.url}/gradio_api/upload", files={"files": scans["scan.png"].open("rb")}).json()[0]
        file = {"path": place, "meta": {"_type": "gradio.FileData"}}
        for way in ("run", "api"):
            reply = httpx.post(f"{server.url}/gradio_api/{way}/classify", json={"data": [file, "likeliest", 60]})
            assert reply.status_code == 404
            assert "join the queue" in reply.text


class TestLimits:
    def test_upload_that_is_too_large(self, server):
        before = kept(server)
        boundary = b"x" * 20
        head = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        tail = b"\r\n--" + boundary + b"--\r\n"
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
        status, said = ask(server, "/gradio_api/upload", "POST", head + bytes(MAX_BYTES + 1) + tail, **headers)
        assert (status, said) == (413, f"File size exceeded maximum allowed size of {MAX_BYTES} bytes.".encode())
        assert kept(server) == before

    def test_uploads_that_are_too_many(self, server):
        long = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "2000000001"}
        for path in ("/gradio_api/upload", "/gradio_api/upload/"):
            status, said = ask(server, path, "POST", **long)
            assert (status, said[:29]) == (413, b"An upload of more than 2 GB (")

    @pytest.mark.parametrize("path", ["/gradio_api/call/classify", "/gradio_api/queue/join", "/gradio_api/run/about"])
    def test_request_that_is_too_large(self, server, path):
        status, said = ask(server, path, "POST", Content_Length="5000001")
        assert (status, said[:30]) == (413, b"A question of more than 5 MB, ")

        def chunks():
            for _ in range(90):
                yield b" " * 100_000
            yield b'{"data": []}'

        try:
            reply = httpx.post(f"{server.url}{path}", content=chunks(), headers={"Content-Type": "application/json"})
        except httpx.TransportError:
            return  # hung up on
        assert reply.status_code >= 400

    def test_request_of_unknown_length_that_is_small(self, server):
        headers = {"Content-Type": "application/json"}
        reply = httpx.post(f"{server.url}/gradio_api/run/about", content=iter([b'{"data": ', b"[]}"]), headers=headers)
        assert reply.json()["data"][0]["models"]

    def test_scan_of_too_many_pixels(self, client, tmp_path):
        from gradio_client import handle_file
        from gradio_client.exceptions import AppError

        path = tmp_path / "wide.png"
        Image.new("L", (MAX_PIXELS // 1000 + 1, 1000)).save(path)
        with pytest.raises(AppError, match="expected at most 20 megapixels"):
            client.predict(handle_file(str(path)), api_name="/classify")

    def test_nothing_passes_by_the_queue(self, app, classifier):
        demo = app().build_demo(classifier)
        assert demo.api_open is False
        endpoints = [fn for fn in demo.fns.values() if fn.api_name in ("classify", "many")]
        limits = {fn.concurrency_id: fn.concurrency_limit for fn in endpoints}
        assert limits == {"model": 1, "many": 1}


def kept(server) -> set[Path]:
    return {p for p in server.uploads.rglob("*") if p.is_file()}


class TestHealth:
    def test_it_is_told_at_once_while_the_models_are_busy(self, server, connect, scans, classifier, segmenter):
        """Which checkpoints are served, by their hashes, with the queue full of scans."""
        from gradio_client import handle_file

        waiting = connect()
        one = handle_file(str(scans["scan.png"]))
        jobs = [waiting.submit(one, opacity=10 * n, api_name="/classify") for n in range(1, 9)]
        many = [handle_file(str(scans["deep.png"]))] * 10
        jobs.append(waiting.submit(many, api_name="/many"))
        expected = app_facts({"classifier": served(classifier.model), "segmenter": served(segmenter.model)})
        while not any(job.done() for job in jobs):
            time.sleep(0.01)
        for _ in range(3):
            started = time.monotonic()
            reply = httpx.post(f"{server.url}/gradio_api/run/about", json={"data": []}, timeout=30)
            seconds = time.monotonic() - started
            assert not all(job.done() for job in jobs)
            assert reply.json()["data"] == [expected]
            assert seconds < 5
        for model in expected["models"].values():
            assert len(model["weights_sha256"]) == len(model["config_sha256"]) == 64
        for job in jobs:
            job.result(timeout=300)
