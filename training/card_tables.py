"""What a card's table of cost holds, row by row, from the checkpoint's records (its table of data: octhub.datasets)."""

from training.stages import recorded_stages


def cost_rows(training: dict, metrics: dict) -> list[dict]:
    """The stages of the training, first to last, as what, seconds and hardware; None where nothing was recorded."""
    before = recorded_stages(training)
    if any(stage["seconds"] is None for stage in before):
        before = metrics.get("audit", {}).get("before") or before
    own = {"what": "this training", "seconds": training["seconds"], "hardware": training["hardware"]}
    return [*before, own]
