"""Nothing heavy is imported before it is needed: whoever uses a part shouldn't wait for the rest."""

from benchmarks.imports import HEAVY, LINE, loaded, own_seconds

DRAWS_AND_SERVES = {"gradio", "mcp", "matplotlib", "pandas", "sklearn", "scipy"}


def test_importing_octhub_loads_nothing_heavy():
    assert loaded("import octhub") == {}


def test_models_load_no_more_than_they_need():
    found = set(loaded("import octhub.octnet, octhub.unet"))
    assert "torch" in found
    assert not found & {"timm", "torchvision", "cv2", "pytorch_grad_cam", *DRAWS_AND_SERVES}


def test_the_command_line_and_the_app_load_no_more_to_answer():
    found = set(loaded("import octhub.predict, octhub.results"))
    assert "torch" in found
    assert not found & {"timm", "torchvision", "pytorch_grad_cam", *DRAWS_AND_SERVES}


def test_help_waits_for_no_library():
    assert not {"torch", "huggingface_hub", "numpy"} & set(loaded("import octhub.__main__"))


def test_reading_a_scan_needs_no_torch():
    assert set(loaded("from octhub import read_scan")) <= {"numpy", "PIL"}


def test_seconds_of_importtime_are_summed_by_package():
    printed = """import time: self [us] | cumulative | imported package
import time:       500 |        500 |     torch._C
import time:      1500 |       2000 |   torch
import time:       250 |       2250 | timm.models""".splitlines()
    assert own_seconds(printed) == {"torch": 0.002, "timm": 0.00025}
    assert LINE.match(printed[0]) is None
    assert {"torch", "timm"} <= set(HEAVY)
