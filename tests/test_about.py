"""The About page: its figures are the records', it tells what is missing, and it reads well. And /about."""

import json
import re
import shutil
import urllib.request
from dataclasses import replace

import pytest
import yaml

from octhub import Classifier, Segmenter, __version__
from octhub.about import BIBTEX, TITLE, YEAR, about_html
from octhub.about_parts import REMARKS
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER, locate
from octhub.served import COMPARISON, METRICS, RECORDS, TRAINING, app_facts, served

NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def models():
    loaded = {
        "classifier": Classifier.from_pretrained(DEFAULT_CLASSIFIER, device="cpu"),
        "segmenter": Segmenter.from_pretrained(DEFAULT_SEGMENTER, device="cpu"),
    }
    return {role: served(m.model) for role, m in loaded.items()}


def changed(model, name: str, change) -> object:
    """The model with a record that `change` was done to."""
    record = json.loads(json.dumps(model.records[name]))
    change(record)
    return replace(model, records={**model.records, name: record})


class TestPage:
    def test_figures_are_the_records(self, models):
        page = about_html(models)
        assert "aren’t here" not in page
        assert "aren't as octhub writes them" not in page
        for e in models["classifier"].records[METRICS]["evaluations"].values():
            for share in (e["accuracy"], e["expected_calibration_error"]):
                assert f"{100 * share:.2f}{NBSP}%" in page
            low, high = (f"{100 * bound:.1f}{NBSP}%" for bound in e["accuracy_interval_95"])
            assert f"{low} to {high}" in page
            for c in e["per_class"].values():
                assert c["auroc"] is None or f"<td >{c['auroc']:.4f}</td>" in page
        for e in models["segmenter"].records[METRICS]["evaluations"].values():
            for those in filter(None, (e, e.get("human"))):
                assert f"<td >{those['miou']:.3f}</td>" in page
                for c in those["per_class"].values():
                    assert c["iou"] is None or f"<td >{c['iou']:.3f}</td>" in page
            for s in e["per_subject"].values():
                assert f"{s['miou']:.3f}" in page
        for m in models["segmenter"].records[COMPARISON]["models"].values():
            assert f"<td >{m['speed']['seconds']:.3f}</td>" in page

    def test_another_figure_in_the_record_is_another_on_the_page(self, models):
        before = about_html(models)
        other = changed(models["classifier"], METRICS, lambda r: r["evaluations"]["octdl"].update(accuracy=0.4321))
        assert f"43.21{NBSP}%" not in before
        assert f"43.21{NBSP}%" in about_html({**models, "classifier": other})

    def test_external_is_what_trained_nothing(self, models):
        page = about_html(models)
        assert "external: OCTDL" in page
        assert "external: OCT2017" not in page
        known = changed(
            models["classifier"],
            METRICS,
            lambda r: r["audit"]["sets"].append({**r["audit"]["sets"][0], "data": "octdl"}),
        )
        assert "external: OCTDL" not in about_html({"classifier": known})
        unknown = changed(models["classifier"], METRICS, lambda r: r.pop("audit"))
        page = about_html({"classifier": unknown})
        assert "external: " not in page
        assert "No leak audit was recorded" in page

    def test_what_must_be_said_beside_a_figure(self, models):
        for model in models.values():
            page = about_html({"classifier" if model.architecture == "OctNet" else "segmenter": model})
            for e in model.records[METRICS]["evaluations"].values():
                assert REMARKS[e["split_sha256"][:12]] in page

    def test_hashes_versions_and_citation(self, models):
        page = about_html(models, versions={"Gradio": "6.0"})
        for m in models.values():
            assert m.facts()["weights_sha256"] in page
        assert f"octhub {__version__} and Gradio 6.0" in page
        assert "@software{octhub" in page

    def test_credits_and_address(self, models):
        page = about_html(models, [("Set <1>", "MIT", "by & me")], address="https://owner-octhub.hf.space")
        assert "Set &lt;1&gt;, MIT. by &amp; me" in page
        assert "https://owner-octhub.hf.space/gradio_api/mcp/" in page

    def test_without_a_segmenter(self, models):
        page = about_html({"classifier": models["classifier"]})
        assert "Segmenter" not in page
        assert "outlines and measures" not in page

    def test_missing_records_are_named(self, models):
        bare = {
            role: replace(m, records={}, absent=dict.fromkeys(RECORDS, "not in this repo"))
            for role, m in models.items()
        }
        page = about_html(bare)
        assert page.count("metrics.json is not in this repo") >= 2
        assert "training.json is not in this repo" in page
        assert "comparison.json is" not in page  # there needn't be one
        assert "gets one of" in page  # the limits need no record
        assert models["classifier"].facts()["weights_sha256"] in page

    @pytest.mark.parametrize("name", [METRICS, TRAINING, COMPARISON])
    def test_odd_records_never_stop_the_page(self, models, name):
        """Each value of a record, one after another, is taken away or replaced."""
        for role, model in models.items():
            if name not in model.records:
                continue
            for path in list(paths(model.records[name]))[:120]:
                for value in (None, "x", [], {}, -1):
                    odd = changed(model, name, lambda r, path=path, value=value: put(r, path, value))
                    assert "</article>" in about_html({**models, role: odd})

    def test_what_a_record_says_is_escaped(self, models):
        def attack(record):
            e = record["evaluations"]["duke-dme"]
            e["data"] = e["split"] = "<script>alert(1)</script>"
            e["per_class"] = {f'"><img src=x onerror=alert({i})>': c for i, c in enumerate(e["per_class"].values())}
            e["human"] = None

        page = about_html({"segmenter": changed(models["segmenter"], METRICS, attack)})
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page

    def test_cited_alike_everywhere(self, root):
        cff = yaml.safe_load((root / "CITATION.cff").read_text())
        assert (cff["title"], cff["version"], cff["license"]) == (TITLE, __version__, "Apache-2.0")
        assert {"cff-version", "message", "authors"} <= cff.keys()
        own = (root / "training" / "references.bib").read_text().split("\n\n")[0]
        for field in (f"title = {{{TITLE}}}", f"year = {{{YEAR}}}"):
            assert field in own
            assert field in BIBTEX


def paths(value, path=()):
    """Where a JSON value's parts are, from the outside in; of a list, its first."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else []
    for key, part in parts:
        yield from paths(part, (*path, key))


def put(value, path, new) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


class TestApp:
    @pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"evaluations": 3}'])
    def test_a_damaged_record_does_not_keep_the_app_from_starting(self, app, tmp_path, content):
        folder = tmp_path / "odd"
        shutil.copytree(locate(DEFAULT_CLASSIFIER), folder)
        (folder / METRICS).unlink()
        if content is not None:
            (folder / METRICS).write_bytes(content)
        demo = app().build_demo(Classifier.from_pretrained(folder, device="cpu"))
        (page,) = [b.value for b in demo.blocks.values() if getattr(b, "elem_id", None) == "about-page"]
        assert "metrics.json is " in page
        assert "1,771 scans" in page  # what training.json says is there


class TestApi:
    def test_it_says_what_is_served(self, client, classifier, segmenter):
        expected = app_facts({"classifier": served(classifier.model), "segmenter": served(segmenter.model)})
        assert client.predict(api_name="/about") == expected

    def test_one_request_is_enough_for_monitoring(self, server):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.url}/gradio_api/run/about", b'{"data": []}', headers)
        (facts,) = json.load(urllib.request.urlopen(request, timeout=30))["data"]
        assert facts["octhub"] == __version__
        assert facts["models"].keys() == {"classifier", "segmenter"}

    def test_every_endpoint_is_described(self, client):
        """What the page "Use via API" is made of."""
        endpoints = client.view_api(return_format="dict")["named_endpoints"]
        for endpoint in endpoints.values():
            assert "." in endpoint["description"]
            for p in endpoint["parameters"]:
                assert len(p["label"]) > 10
                assert "github" not in json.dumps(p["example_input"])
                assert "GradioModel" not in json.dumps(p["python_type"])
            assert endpoint["returns"][0]["python_type"]["type"].startswith("dict(")


class TestTab:
    @pytest.mark.parametrize("width", [1440, 390])
    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_reads_well(self, visit, root, classifier, width, dark):
        page = visit(width, 844 if width < 500 else 900, dark)
        page.get_by_role("tab", name="About").click()
        heading = page.get_by_role("heading", name="About octhub", level=2)
        heading.wait_for()
        metrics = served(classifier.model).records[METRICS]["evaluations"]["oct2017-test"]
        assert page.get_by_text(re.compile(rf"^{100 * metrics['accuracy']:.2f}\s%$")).first.is_visible()
        assert page.get_by_text("metrics.json is not in this folder").first.is_visible()  # of the tests' segmenter
        levels = page.evaluate("[...document.querySelectorAll('.dossier :is(h1, h2, h3, h4)')].map(h => h.tagName)")
        assert levels[0] == "H2"
        assert set(levels) == {"H2", "H3"}
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shots = root / "screenshots"
        shots.mkdir(exist_ok=True)
        page.screenshot(path=shots / f"about-{width}-{'dark' if dark else 'light'}.png", full_page=True)
