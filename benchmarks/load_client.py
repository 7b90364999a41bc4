"""One visitor of a running app, over HTTP as a browser or a program asks: upload, join the queue, read the stream."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

API = "/gradio_api"


class Busy(Exception):
    """The app said that it has too much to do."""


class Refused(Exception):
    """The app said what is wrong with the question."""


class Lost(Exception):
    """No answer came, and nothing said why."""


@dataclass(frozen=True)
class PageEvent:
    """What the page asks when its visitor does something.

    Attributes:
        id: by which the queue knows it.
        inputs: what the page sends as it comes; None for what stays on the server.
        outputs: place of each answer, by its element's id.
    """

    id: int
    inputs: list[Any]
    outputs: dict[str, int]


@dataclass(frozen=True)
class App:
    """A running app: its address, and what its page and its API ask by."""

    url: str
    config: dict[str, Any] = field(repr=False)

    @classmethod
    async def at(cls, url: str, http: httpx.AsyncClient) -> "App":
        answer = await http.get(f"{url}/config")
        answer.raise_for_status()
        return cls(url.rstrip("/"), answer.json())

    def page_event(self, trigger: str, output: str) -> PageEvent:
        """The page's first event with this trigger ("upload", "select", "change") and an output of this element id."""
        components = {c["id"]: c for c in self.config["components"]}

        def element(id: int) -> str:
            return components[id]["props"].get("elem_id") or ""

        for event in self.config["dependencies"]:
            outputs = {element(id): place for place, id in enumerate(event["outputs"])}
            if output in outputs and any(t[1] == trigger for t in event["targets"]):
                inputs = [components[id] for id in event["inputs"]]
                values = [None if c["type"] == "state" else c["props"].get("value") for c in inputs]
                return PageEvent(event["id"], values, outputs)
        raise LookupError(f"{self.url}: no event {trigger} that fills {output}, expected octhub's app")


@dataclass
class Visitor:
    """A visit: Gradio knows it by `session`, and keeps a state for it."""

    http: httpx.AsyncClient
    app: App
    session: str = field(default_factory=lambda: secrets.token_hex(6))

    async def upload(self, name: str, data: bytes) -> dict[str, Any]:
        """Upload a file; what the API and the page name it by."""
        known = {"upload_id": secrets.token_hex(6)}  # as a browser's, which shows how far it is
        answer = await self.http.post(f"{self.app.url}{API}/upload", params=known, files={"files": (name, data)})
        _told(answer)
        (path,) = answer.json()
        return {"path": path, "orig_name": name, "size": len(data), "meta": {"_type": "gradio.FileData"}}

    async def do(self, event: PageEvent, first: Any = None, data: Any = None) -> dict[str, Any]:
        """Do something on the page.

        Args:
            first: the event's first input, if the visitor gave it.
            data: what the event is about, such as which example was clicked.

        Returns:
            The page's answers by element id.
        """
        inputs = [first, *event.inputs[1:]] if first is not None else event.inputs
        question = {"fn_index": event.id, "data": inputs, "event_data": data, "session_hash": self.session}
        joined = await self.http.post(f"{self.app.url}{API}/queue/join", json=question)
        _told(joined)
        ours = joined.json()["event_id"]
        stream = self.http.stream("GET", f"{self.app.url}{API}/queue/data", params={"session_hash": self.session})
        async with stream as lines:
            _told(lines)
            async for _, said in _events(lines):
                if said["msg"] == "process_completed" and said.get("event_id") == ours:
                    output = said["output"]
                    if not said["success"]:
                        raise Refused(str(output.get("error")))
                    return {id: output["data"][place] for id, place in event.outputs.items()}
        raise Lost("the stream ended before the answer")

    async def call(self, endpoint: str, inputs: Sequence[Any]) -> list[Any]:
        """Ask an endpoint of the API as curl would."""
        address = f"{self.app.url}{API}/call/{endpoint}"
        joined = await self.http.post(address, json={"data": list(inputs)})
        _told(joined)
        async with self.http.stream("GET", f"{address}/{joined.json()['event_id']}") as lines:
            _told(lines)
            async for kind, said in _events(lines):
                if kind == "error":
                    raise Refused(str((said or {}).get("error")))
                if kind == "complete":
                    return said
        raise Lost("the stream ended before the answer")

    async def file(self, said: dict[str, Any]) -> bytes:
        """A file that the app hands out."""
        answer = await self.http.get(f"{self.app.url}{API}/file={said['path']}")
        _told(answer)
        return answer.content

    async def about(self) -> dict[str, Any]:
        """What is served, as monitoring asks it: past the queue."""
        answer = await self.http.post(f"{self.app.url}{API}/run/about", json={"data": []})
        _told(answer)
        return answer.json()["data"][0]


def _told(answer: httpx.Response) -> None:
    """Raises Busy or Lost for what isn't an answer."""
    if answer.status_code == 503:
        raise Busy(answer.text if answer.is_closed else "503")
    if answer.is_error:
        raise Lost(f"HTTP {answer.status_code} from {answer.request.url.path}")


async def _events(answer: httpx.Response):
    """(event, data) of server-sent events."""
    kind = ""
    async for line in answer.aiter_lines():
        if line.startswith("event:"):
            kind = line[6:].strip()
        elif line.startswith("data:"):
            yield kind, json.loads(line[5:])
