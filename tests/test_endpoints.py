"""The answers of the named endpoints have the fields and types that are published for them."""

import json

import pytest
from gradio_client import handle_file
from pydantic import TypeAdapter

import endpoints


@pytest.mark.parametrize(
    ("endpoint", "files", "several", "which", "kind"),
    [
        ("/classify", ["cnv-1.jpeg"], False, 0, endpoints.ClassFacts),
        ("/segment", ["healthy-1.png"], False, 0, endpoints.MaskFacts),
        ("/segment", ["healthy-1.png", "healthy-1-mask.png"], False, 0, endpoints.MaskFacts),
        ("/many", ["cnv-1.jpeg", "healthy-1-mask.png"], True, 0, endpoints.ManyFacts),
        ("/about", [], False, None, endpoints.AppFacts),
    ],
)
def test_answer_is_of_the_published_type(client, root, endpoint, files, several, which, kind):
    given = [handle_file(str(root / "examples" / name)) for name in files]
    answer = client.predict(*([given] if several else given), api_name=endpoint)
    facts = answer if which is None else answer[which]
    assert TypeAdapter(kind).validate_json(json.dumps(facts), strict=True).keys() == facts.keys()
