"""Requests, answers, refusals, and files or ranges of them as answers."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Refused(Exception):
    """The Hub says no: a status, a message, the X-Error-Code that huggingface_hub goes by, and more for the body."""

    def __init__(self, status: int, message: str, code: str = "", **more):
        super().__init__(message)
        self.status, self.message, self.code, self.more = status, message, code, more


@dataclass(frozen=True)
class Request:
    """A request; `target` is its path with the query, as sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def parts(self) -> list[str]:
        """The path's segments. A slash within one, as in a folder's or a tag's name, was sent as %2F."""
        return [unquote(part) for part in urlsplit(self.target).path.split("/")[1:]]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    def json(self) -> dict:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """An answer; `note` is what the transcript says of it, beside the status."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def of(cls, data: object, status: int = 200) -> "Answer":
        """An answer in JSON; what YAML read as a date is written as text."""
        return cls(status, json.dumps(data, default=str).encode(), {"Content-Type": "application/json"})

    @classmethod
    def refusal(cls, no: Refused, headers: Mapping[str, str] | None = None) -> "Answer":
        plain = cls.of({"error": no.message, **no.more}, no.status)
        codes = {"X-Error-Code": no.code} if no.code else {}
        message = no.message.encode("ascii", "replace").decode().replace("\n", " ")
        return cls(no.status, plain.body, {**plain.headers, **codes, "X-Error-Message": message, **(headers or {})})


def file_answer(request: Request, data: bytes, headers: dict[str, str]) -> Answer:
    """A file, or the range of it that was asked for."""
    headers = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    found = RANGE.fullmatch(request.headers.get("Range", ""))
    if not found:
        return Answer(200, data, headers, f" {len(data)} bytes" if request.method == "GET" else "")
    first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
    if first > last:
        return Answer(416, headers={**headers, "Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Answer(206, data[first : last + 1], headers, f" bytes {first}-{last}/{len(data)}")
