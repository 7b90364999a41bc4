"""A server on loopback that speaks the Hugging Face Hub's protocol, for tests of publishing and loading, and faults
that such tests switch on.

The real huggingface_hub talks to it. It reads its endpoint when it is imported, so use it in a subprocess, with
`HubServer.environment`. Xet is off there.
"""

import os
import select
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from hub_answers import Hub
from hub_cards import card_data
from hub_messages import Answer, Refused, Request
from hub_repos import Commit, Repo

__all__ = ["Commit", "HubServer", "Repo"]

INSTEAD = {
    "refuse": None,
    "error": Refused(503, "Service Unavailable"),
    "missing": Refused(404, "Entry not found", "EntryNotFound"),
    "conflict": Refused(412, "A commit has happened since. Please refresh and try again."),
    "payment": Refused(402, "This needs a subscription"),
}
"""Faults that come in place of an answer; nothing is done then."""

AFTER = ("stall", "cut", "corrupt")
"""Faults of an answer's body; what was asked for is done."""


@dataclass
class Fault:
    """See `HubServer.fault`."""

    kind: str
    path: str
    method: str
    left: float
    healed: threading.Event = field(default_factory=threading.Event)

    def strikes(self, request: Request, kinds) -> bool:
        """Whether it is of these kinds and meant for this request. HEAD has no body: faults AFTER must name it."""
        method = self.method or (request.method if self.kind in INSTEAD or request.method != "HEAD" else "")
        meant = self.path in unquote(request.target) and method == request.method
        return self.left > 0 and self.kind in kinds and meant


class HubServer:
    """The Hub while the context lasts.

        with HubServer() as hub:
            hub.put("owner/name", {"config.json": b"{}"})
            subprocess.run([sys.executable, …], env=hub.environment(tmp_path))

    Attributes:
        endpoint: "http://127.0.0.1:PORT".
        token: the one that may write, in any namespace; another one is refused everywhere.
        user: its owner's name.
        transcript: a line for each request, in the order of the answers: "HEAD /owner/name/resolve/main/config.json
            200", after a file's answer its size, " 512 bytes" or " bytes 256-511/512", and at last the fault, if any;
            "no answer" in place of the status where the connection was refused. What is not served here gets 404, and
            no faults.
    """

    def __init__(self, user: str = "tester"):
        self.user = user
        self.token = "hf_test_token_that_may_write"
        self.transcript: list[str] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        self._hub = Hub(self.endpoint, f"http://localhost:{port}", self.token, user)

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self.heal()
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Path, token: bool = True) -> dict[str, str]:
        """For a subprocess that is to know no other Hub; `home` will be its HF_HOME, with the cache in it."""
        foreign = ("HF_", "HUGGING")
        env = {k: v for k, v in os.environ.items() if not k.startswith(foreign) and not k.lower().endswith("_proxy")}
        env |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1,localhost"}
        env |= dict.fromkeys(("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"), "1")
        return env | ({"HF_TOKEN": self.token} if token else {})

    def put(self, repo_id: str, files: dict[str, bytes], kind: str = "model") -> str:
        """Commit a whole tree, which replaces the last one, to a repo, which is made if need be.

        Returns:
            The commit's hash.
        """
        with self._lock:
            repo = self._hub.create(repo_id, kind)
            if kind == "space" and repo.sdk is None:
                repo.sdk, repo.hardware = card_data(files.get("README.md", b"")).get("sdk", "gradio"), "cpu-basic"
            return repo.add("put", files).sha

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        """
        Raises:
            KeyError: there is none.
        """
        return self._hub.repos[kind, repo_id]

    def forget(self) -> None:
        """Drop every repo, so that the next test finds none."""
        with self._lock:
            self._hub.repos.clear()

    def fault(self, kind: str, path: str = "", method: str = "", times: int = 1) -> None:
        """Switch a fault on for requests whose path contains `path`.

        A file's name is in the path of its HEAD and of its GET, and for large files in that of the GET that follows the
        redirect, but not in that of an upload (PUT).

        Args:
            kind: in place of an answer, "refuse" (the connection is closed), "error" (503), "missing" (404, as for a
                file that is not there), "conflict" (412; to commits, unless `path` says otherwise), "payment" (402).
                Of a successful answer's body, so that it passes over HEAD and redirects: "stall" (headers, then
                nothing until heal() or until the client leaves; a HEAD that is named by `method` gets no headers
                either), "cut" (half of it, then the end), "corrupt" (the last byte is another one).
            method: any if empty.
            times: how often it strikes; 0 for ever.
        """
        if kind not in INSTEAD and kind not in AFTER:
            raise ValueError(f"fault {kind!r}, expected one of {', '.join((*INSTEAD, *AFTER))}")
        if kind == "conflict":
            path = path or "/commit/"
        with self._lock:
            self._faults.append(Fault(kind, path, method, times or float("inf")))

    def heal(self) -> None:
        """All faults off; stalled answers go on."""
        with self._lock:
            for fault in self._faults:
                fault.healed.set()
            self._faults.clear()

    def _struck(self, request: Request, kinds) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.strikes(request, kinds):
                    fault.left -= 1
                    return fault
        return None

    def _answer(self, request: Request) -> tuple[Answer | None, Fault | None]:
        """The answer, None for no answer at all, and the fault that is still to be done to it."""
        act = self._hub.route(request)
        if act is None:
            return Answer.refusal(Refused(404, "Not found")), None
        if fault := self._struck(request, INSTEAD):
            no = INSTEAD[fault.kind]  # Retry-After keeps the client's six attempts short
            return no and Answer.refusal(no, {"Retry-After": "0"} if no.status == 503 else None), fault
        try:
            with self._lock:
                answer = act()
        except Refused as no:
            answer = Answer.refusal(no)
        except (KeyError, TypeError, ValueError) as e:
            answer = Answer.refusal(Refused(400, f"Not understood: {e!r}"))
        if request.method == "HEAD":
            return answer, self._struck(request, ("stall",))
        return answer, self._struck(request, AFTER) if answer.body and answer.status < 300 else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    """One request a connection, so that a connection that ends means what a fault says it means."""

    protocol_version = "HTTP/1.1"
    hub: HubServer

    def _serve(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, self.headers, body)
        answer, fault = self.hub._answer(request)
        status = answer.status if answer else "no answer"
        mark = f" {fault.kind}" if fault and answer else ""
        self.hub.transcript.append(f"{self.command} {self.path} {status}{answer.note if answer else ''}{mark}")
        try:
            if answer:
                self._send(answer, fault)
        except ConnectionError:
            pass  # the client left

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        kind, head, body = fault and fault.kind, self.command == "HEAD", answer.body
        if kind == "stall" and head and not self._outlasts(fault):
            return
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        if head or (kind == "stall" and not self._outlasts(fault)):
            return
        if kind == "cut":
            body = body[: len(body) // 2]
        elif kind == "corrupt":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.wfile.write(body)

    def _outlasts(self, fault: Fault) -> bool:
        """Wait until the fault is healed (True) or the client has left (False)."""
        while not fault.healed.wait(0.05):
            if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                return False
        return True

    def log_message(self, format: str, *args) -> None:
        """The transcript says it."""
