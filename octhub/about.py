"""HTML of the demo's About page (styled by about.css): the models, their data, privacy, use and citation.

Nothing here knows Gradio. What is said of a model is in about_classifier.py and about_segmenter.py.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape

from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE

from octhub import __version__
from octhub.about_classifier import CLASSIFIER
from octhub.about_parts import ODD, Absent, model_html, record
from octhub.about_segmenter import SEGMENTER
from octhub.datasets import data_rows
from octhub.markup import Html, bullets, code, count, link, listed, paragraph, table
from octhub.served import METRICS, NOTICE, TRAINING, Served

SECTIONS = {"classifier": ("Classifier", CLASSIFIER), "segmenter": ("Segmenter", SEGMENTER)}
"""By what a model is there for: its section's title and parts."""

TITLE, YEAR = "octhub: retinal OCT models, checkpoints and a web demo", 2026
"""As in CITATION.cff and training/references.bib."""

BIBTEX = f"""
@software{{octhub,
  title = {{{TITLE}}},
  year = {{{YEAR}}},
  version = {{{__version__}}}
}}
"""


def about_html(
    models: Mapping[str, Served],
    credits: Sequence[tuple[str, str, str]] = (),
    versions: Mapping[str, str] | None = None,
    address: str = "http://127.0.0.1:7860",
) -> str:
    """The page.

    Args:
        models: by what they are there for: "classifier", "segmenter".
        credits: (source, licence, attribution) of the example scans.
        versions: of what runs here, beside octhub.
        address: where the app answers.
    """
    sections = [model_html(model, *SECTIONS[role]) for role, model in models.items()]
    return f"""
<article class="dossier">
  <section class="lead"><h2>About octhub</h2>
  <p>{_summary(models)}</p>
  <p><strong>{NOTICE}</strong> It must not be used to diagnose or treat anyone.
  Every figure on this page is read from the records of the checkpoints that are running here.</p></section>
  {"".join(sections)}
  {_data(models, credits)}
  {PRIVACY}
  {_use(models, address)}
  {_cite(models)}
  {_versions(models, versions or {})}
</article>"""


PRIVACY = """
<section><h2>Your scans</h2><ul>
<li>What you add is used for your answer only, and deleted from the server within half an hour. The ZIP of results of
many scans is deleted half an hour after their run.</li>
<li>It trains nothing, the app sends it to no other service, and your browser keeps no history of it.</li>
<li>Still, add only scans without names or other personal data, and only those that you may share: on a public site the
server isn’t yours. On your own machine the app needs no network.</li></ul></section>"""


def _summary(models: Mapping[str, Served]) -> str:
    can = ["says what a scan shows, how sure it is and where it looked"] if "classifier" in models else []
    can += ["outlines and measures the layers of the retina and fluid in it"] if "segmenter" in models else []
    return f"octhub reads retinal optical coherence tomography (OCT) B-scans: it {'; and it '.join(can)}."


def _data(models: Mapping[str, Served], credits: Sequence[tuple[str, str, str]]) -> str:
    """Which data trained and tested the models, whose they are, and under which licence."""
    rows, problems = [], []
    for role, model in models.items():
        try:
            metrics = model.records.get(METRICS, {"evaluations": {}})  # they know the data sets apart; training, too
            for part in data_rows(record(model, TRAINING), metrics):
                name = link(part["url"], part["name"]) if part["url"] else part["name"]
                sharing = f": {part['sharing']}" if part["sharing"] else ""
                figures = [count(part["scans"]), count(part["patients"])]
                rows.append([name, part["credit"], f"{part['licence']}{sharing}", role, part["role"], *figures])
        except Absent as e:
            problems.append(f"{role}: {e}")
        except ODD as e:
            problems.append(f"{role}: its records aren't as octhub writes them ({type(e).__name__} {e})")
    heads = ["Data set", "By", "Licence, and what may be shared", "Model", "Part", "Scans", "Patients"]
    shown = table("Scans that trained, validated and tested the models", heads, rows, text=5, wide=True) if rows else ""
    lacking = f'<div class="missing" role="note">{bullets(problems)}</div>' if problems else ""
    examples = [f"Example scans from {s}, {licence}. {attribution}" for s, licence, attribution in credits]
    more = ["Splits are by patient (in OCTLayers, by eye), never by scan.", *examples]
    more.append("Code and weights of octhub: Apache License 2.0.")
    return f"<section><h2>Data and licences</h2>{lacking}{shown}{bullets(more)}</section>"


def _use(models: Mapping[str, Served], address: str) -> str:
    """The same models without this page."""
    python, shell, calls = [f"from octhub import {', '.join(role.capitalize() for role in models)}", ""], [], []
    if "classifier" in models:
        source = models["classifier"].source
        python += [f'answer = Classifier.from_pretrained("{source}")("scan.png", heatmap=True)']
        python += ["print(answer.label, answer.probabilities)"]
        shell += [f"python -m octhub classify scan.png folder/ --csv answers.csv --classifier {source}"]
        calls += ['print(app.predict(handle_file("scan.png"), api_name="/classify"))']
    if "segmenter" in models:
        source = models["segmenter"].source
        python += [f'answer = Segmenter.from_pretrained("{source}")("scan.png")', "print(answer.mask.shape)"]
        shell += [f"python -m octhub segment scan.png folder/ --out outlines --segmenter {source}"]
        calls += ['print(app.predict(handle_file("scan.png"), api_name="/segment"))']
    client = ["from gradio_client import Client, handle_file", "", f'app = Client("{address}")', *calls]
    facts = f"curl {address}/gradio_api/run/about -H 'Content-Type: application/json' -d '{{\"data\": []}}'"
    assistant = json.dumps({"mcpServers": {"octhub": {"url": f"{address}/gradio_api/mcp/"}}}, indent=2)
    return f"""
<section><h2>Use it elsewhere</h2><div class="beside">
<div><h3>In Python</h3>{code(chr(10).join(python))}</div>
<div><h3>On the command line</h3>{code(chr(10).join(shell))}</div>
<div><h3>Over HTTP</h3>{code(chr(10).join(client))}
<p>“Use via API or MCP”, at the foot of this page, has every endpoint with its arguments and answers. What runs here,
for monitoring:</p>{code(facts)}</div>
<div><h3>From an assistant (MCP)</h3>{code(assistant)}
<p>Its tools take a scan as base64, or as the address that the app’s upload route gives. Other addresses are
refused.</p></div></div></section>"""


def _cite(models: Mapping[str, Served]) -> str:
    cards = [
        Html(f"{escape(role.capitalize())}: {link(m.page, m.source.partition('@')[0])}, with its card")
        for role, m in models.items()
        if m.page
    ]
    more = bullets(cards) if cards else ""
    return f"""
<section><h2>How to cite</h2>{code(BIBTEX)}{paragraph("Please cite the data sets above, too.")}{more}</section>"""


def _versions(models: Mapping[str, Served], versions: Mapping[str, str]) -> str:
    heads = ["Model", "Source", "Commit", "sha256 of the weights", "sha256 of the configuration"]
    rows = []
    for role, m in models.items():
        commit = m.origin.commit if m.origin else None
        name = m.source.partition("@")[0]  # the commit has a column of its own
        source = link(m.page, name) if m.page else name
        hashes = [m.sha256.get(name) for name in (SAFETENSORS_SINGLE_FILE, CONFIG_NAME)]
        digests = [Html(f"<code>{escape(h)}</code>") if h else None for h in (commit, *hashes)]
        rows.append([role, source, *digests])
    text = listed([f"{name} {version}" for name, version in {"octhub": __version__, **versions}.items()])
    shown = table("What is served", heads, rows, text=5, wide=True)
    return f'<section class="versions"><h2>Versions</h2>{paragraph(f"Running: {text}.")}{shown}</section>'
