"""The demo as a server of the Model Context Protocol (MCP): its API endpoints are an assistant's tools.

Gradio's own server (6.31) fetches a file argument from whatever address it is given, keeps base64 on the disk for good,
and gives several answers as one Python expression. This one takes a scan as base64, or by the address that the app's
upload route gives, fetches nothing, and answers with JSON and pictures.
"""

import base64
import binascii
import json
import mimetypes
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gradio.mcp
from anyio.to_thread import run_sync
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj_with_meta, traverse

from octhub import __version__

UPLOADED = "/gradio_api/file="
"""What stands between an app's address and the path of an uploaded file, in the address of the file."""

EXPECTED = (
    "expected base64, with or without 'data:image/png;base64,' in front, or the address of a file uploaded to this app"
)

FILE = (
    "The file in base64, as a data URI or bare (up to 3 MB), or the address of a file that was uploaded to this app: "
    "POST it to /gradio_api/upload, or use the tool upload_file_to_gradio, if present. Other addresses are not fetched."
)
"""Said of every argument that is a file."""

INSTRUCTIONS = (
    "Retinal OCT B-scans: classify names what a scan shows, segment outlines and measures layers and fluid, many does "
    "both for a list of scans, about says which models answer. For research and teaching only, not a medical device."
)


class ToolServer(gradio.mcp.GradioMCPServer):
    """Gradio's MCP server, with file arguments and answers as above; everything else is as it was."""

    def __init__(self, blocks):
        super().__init__(blocks)
        self.mcp_server.version = __version__
        self.mcp_server.instructions = INSTRUCTIONS

    @property
    def _file_data_tool_description(self) -> str:
        """Nothing to add to a tool's description: the argument's own says it."""
        return ""

    def get_input_schema(self, tool_name: str, parameters: dict[str, str] | None = None):
        """Plain strings for files, null where an argument may be left out, and no names of Gradio's components."""
        schema, files = super().get_input_schema(tool_name, parameters)
        for name, argument in schema["properties"].items():
            argument.pop("title", None)
            if any(position[0] == name for position in files):
                about = f"{argument.get('description') or ''} {FILE}".strip()
                kind = {"type": "string"} if [name] in files else {"type": "array", "items": {"type": "string"}}
                argument.clear()
                argument |= {**kind, "description": about}
            if name not in schema.get("required", ()) and "default" not in argument:
                argument |= {"type": [argument["type"], "null"], "default": None}
        return schema, files

    def convert_strings_to_filedata(self, value: dict[str, Any], filedata_positions: list) -> dict[str, Any]:
        """A tool's arguments with files in the place of strings. Raises ValueError, whose message the caller gets."""
        traverse(value, _refuse, is_file_obj_with_meta)  # Gradio would read the file, wherever it lies
        files = {position[0] for position in filedata_positions}
        return {k: self._files(k, v) if k in files and v is not None else v for k, v in value.items()}

    def _files(self, name: str, value: object) -> dict[str, Any] | list[dict[str, Any]]:
        return [self._file(name, v) for v in value] if isinstance(value, list) else self._file(name, value)

    def _file(self, name: str, text: object) -> dict[str, Any]:
        if not isinstance(text, str):
            raise ValueError(f"{name}: a {type(text).__name__}, {EXPECTED}")
        path = self._uploaded(text) or self._decoded(name, text)
        return {"path": path, "orig_name": Path(path).name, "meta": {"_type": "gradio.FileData"}}

    def _uploaded(self, text: str) -> str | None:
        """The path of a file that the app's upload route has taken and not yet deleted; of any other file None.

        What the app knows as an upload is compared as a whole, so no path leads elsewhere.
        """
        path = unquote(text.partition(UPLOADED)[2]) if UPLOADED in text[:4096] else text
        return path if path in self.blocks.upload_file_set and Path(path).is_file() else None

    def _decoded(self, name: str, text: str) -> str:
        """Base64 as a file among the uploads, which is deleted as they are."""
        if text[:8].lower().startswith(("http:", "https:")):
            gone = UPLOADED in text[:4096]
            what = "not, or no longer, an uploaded file of this app" if gone else "an address, and none is fetched"
            raise ValueError(f"{name}: {what}; {EXPECTED}")
        head, comma, data = text.partition(",") if text[:5].lower() == "data:" else ("", "", text)
        if head and not (comma and head.endswith(";base64")):
            raise ValueError(f"{name}: a data URI without base64, {EXPECTED}")
        limit = self.blocks.max_file_size
        if limit is not None and len(data) > limit * 4 / 3 + 4:
            raise ValueError(f"{name}: more than {limit / 1e6:g} MB")
        try:
            content = base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, ValueError) as e:  # ValueError: what isn't ASCII
            raise ValueError(f"{name}: not base64 ({e}), {EXPECTED}") from e
        suffix = mimetypes.guess_extension(head[5:].partition(";")[0]) or ""
        path = Path(get_upload_folder()) / secrets.token_hex(16) / f"{name}{suffix}"
        path.parent.mkdir(parents=True)
        self.blocks.upload_file_set.add(str(path))
        path.write_bytes(content)
        return str(path)

    async def _execute_tool_without_progress(self, job: Any) -> list[Any]:
        """Several answers as several, as they are for a client that asks for progress."""
        result = await run_sync(job.result)
        return list(result) if isinstance(result, tuple) else [result]

    def postprocess_output_data(self, data: Any, root_url: str) -> list:
        """Facts as JSON; files stay Gradio's affair: pictures as such, and the address of each."""
        plain = (str, type(None))
        as_text = [
            d if isinstance(d, plain) or is_file_obj_with_meta(d) else json.dumps(d, ensure_ascii=False, default=_plain)
            for d in data
        ]
        return super().postprocess_output_data(as_text, root_url)


def _plain(data: Any) -> Any:
    """What an endpoint that isn't queued gives: one of Gradio's data models."""
    return data.model_dump()


def _refuse(file: dict) -> None:
    raise ValueError(f"{file['path']}: a file of the server, {EXPECTED}")


def install() -> None:
    """Make launch(mcp_server=True) start this server: Gradio has no other way to choose one."""
    gradio.mcp.GradioMCPServer = ToolServer
