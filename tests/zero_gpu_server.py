"""What gives ZeroGPU Spaces their GPUs, in so far as the `spaces` package asks it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class ZeroGpuServer:
    """While the context lasts, every Space gets a GPU at once.

    Attributes:
        url: for SPACES_ZERO_DEVICE_API_URL.
        asked: (what, its parameters) of each request.
    """

    def __init__(self):
        self.asked: list[tuple[str, dict[str, str]]] = []
        handler = type("Handler", (_Handler,), {"asked": self.asked})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "ZeroGpuServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self._server.shutdown()
        self._server.server_close()

    def all(self, what: str) -> list[dict[str, str]]:
        """The parameters of each request for `what`."""
        return [parameters for asked, parameters in self.asked if asked == what]


class _Handler(BaseHTTPRequestHandler):
    asked: list

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        self.asked.append((url.path.strip("/"), {k: v for k, (v,) in parse_qs(url.query).items()}))
        body = json.dumps({"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args) -> None:
        """`asked` says it."""
