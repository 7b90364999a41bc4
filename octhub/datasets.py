"""The data sets that checkpoints were trained and tested on: whose they are, under which licence, and which part each
had. Cards and the demo read it here."""

import json
from pathlib import Path

FACTS: dict[str, dict] = json.loads(Path(__file__).with_name("datasets.json").read_text(encoding="utf-8"))
"""By the name of a data set's folder: name, credit, url, licence, sharing, cite (keys of training/references.bib)."""

UNKNOWN = {"credit": None, "url": None, "licence": "not recorded", "sharing": None, "cite": []}


def facts(folder: str) -> dict:
    """The facts of the data set in a folder; OCT2017_SAMPLE and the evaluation duke-dme are known by how they begin."""
    name = folder.lower().replace("-", "_")
    found = max((key for key in FACTS if name.startswith(key)), key=len, default=None)
    return {"name": folder, **UNKNOWN} if found is None or " + " in folder else FACTS[found]


def data_rows(training: dict, metrics: dict) -> list[dict]:
    """One row for each data set and the part that it had: the facts, role, scans, patients (None if nothing tells)
    and sha256. An audit knows the data sets apart; without one there is a row for each side of the split.
    """
    audit = metrics.get("audit", {})
    rows = audit.get("sets") or _recorded(training)
    for key, e in metrics["evaluations"].items():
        data = audit.get("tests", {}).get(key, {}).get("data", key)
        patients = e.get("patients", e.get("subjects"))
        row = {"role": "test", "data": data, "scans": e["n"], "patients": patients, "sha256": e["split_sha256"]}
        rows = [*rows, row]
    return [{**facts(row["data"]), **row} for row in rows]


def _recorded(training: dict) -> list[dict]:
    """What training.json alone tells."""
    rows = []
    main, extras = training.get("data", "training data"), training["extra"]
    for role, side, data in (
        ("training", "train", [main] if "extra_scans" in training else [main, *extras]),
        ("validation", "val", [main]),
        ("additional training", "extra_scans", extras),
    ):
        if part := training.get(side):
            scans = part["scans"] if "scans" in part else sum(part["counts"].values())
            patients = len(part["subjects"]) if "subjects" in part else None
            about = {"role": role, "data": " + ".join(data), "scans": scans, "patients": patients}
            rows.append({**about, "sha256": part["sha256"]})
    return rows
