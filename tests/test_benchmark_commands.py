"""Each benchmark runs with tiny settings, shows what it found, and writes a record for README.md's table; its timings
are no matter here."""

import json
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from accelerate.commands.launch import launch_command_parser
from accelerate.state import AcceleratorState

from benchmarks import answer, memory, models, startup, train_once, training
from benchmarks.answers import CAM, CLASSIFY, OF_MODEL, PARTS, SEGMENT
from benchmarks.contestants import Contestant, classifiers, serving_size
from benchmarks.peak import count_macs, parameters
from benchmarks.plain import forward_and_backward
from benchmarks.train_once import READY
from octhub import OctNet
from octhub.hub import DEFAULT_CLASSIFIER


@pytest.fixture(autouse=True)
def threads():
    """A benchmark sets how many threads PyTorch has."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path, capsys):
    """run(module, *arguments) → (what it printed, its record)."""

    def run(module, *arguments: str):
        assert module.main([*arguments, "--rounds", "1", "--results", str(tmp_path)]) == 0
        name = module.__name__.rpartition(".")[2]
        record = json.loads(next(tmp_path.glob(f"{name}.*.json")).read_text())
        assert record["benchmark"] == name
        assert record["machine"]["torch"] == torch.__version__
        assert import_module(module.__name__).readme(record).startswith("| ")
        return capsys.readouterr().out, record

    return run


class TestModels:
    def test_ours_and_theirs(self, run):
        tiny = ["--size", "64", "64", "--threads", "1", "--batches", "1", "2", "--segmenter-batches", "1"]
        out, record = run(models, *tiny, "--models", "OctNet", "ResNet-50", "UNet", "--no-memory")
        assert [m["name"] for m in record["models"]] == ["OctNet", "ResNet-50", "UNet"]
        assert [(r["model"], r["batch"]) for r in record["runs"][:4]] == [
            ("OctNet", 1),
            ("ResNet-50", 1),
            ("OctNet", 2),
            ("ResNet-50", 2),
        ]
        for r in record["runs"]:
            assert r["scans_a_second"] == pytest.approx(r["batch"] / r["seconds"])
            assert r["of_peak"] == pytest.approx(r["gflops"] / r["peak_gflops"])
        assert [b["limit"] for b in record["bars"]] == [8]
        assert "OctNet is faster than ResNet-50 at batch 1, 1 thread" in out

    def test_bars_are_of_single_scans_by_threads(self):
        names = ("UNet", 1.0), ("U-Net++", 2.5), ("DeepLabV3+", 1.0)
        runs = [{"model": n, "ratio": r, "batch": b, "threads": t} for n, r in names for b in (1, 4) for t in (1, 2)]
        found = [str(bar) for bar in models.bars(runs)]
        assert found == [
            "met: UNet is faster than U-Net++ at batch 1, 1 thread: 2.5×, expected at least 2×",
            "met: UNet is faster than U-Net++ at batch 1, 2 threads: 2.5×, expected at least 2×",
        ]

    def test_the_classifier_is_given_what_it_is_served_with(self):
        ours, at_224, *others = classifiers()
        height, width = serving_size(DEFAULT_CLASSIFIER)
        assert ours.shape == (1, height, width)
        assert at_224.shape == (1, 224, 224)
        assert {c.shape for c in others} == {(3, 224, 224)}

    def test_macs_are_those_of_the_convolution(self):
        conv = torch.nn.Conv2d(2, 4, 3, padding=1, bias=False)
        assert count_macs(conv, torch.zeros(1, 2, 8, 8)) == 4 * 8 * 8 * 2 * 3 * 3
        assert parameters(conv) == 4 * 2 * 3 * 3

    def test_memory_grows_by_the_weights_at_least(self, capsys):
        wide = Contestant("wide", lambda: torch.nn.Conv2d(64, 4096, 7), (64, 16, 16))
        found = memory.growth(wide, 1, torch.channels_last, torch.float32)
        assert 50e6 < found < 1e9
        assert memory.main(["OctNet", "--size", "64", "64"]) == 0
        assert int(capsys.readouterr().out) >= 0


class TestAnswer:
    def test_parts_add_up(self, run, server, segmenter_folder):
        out, record = run(answer, "--url", server.url, "--segmenter", str(segmenter_folder))
        assert record["scan"] == "512×496"
        for name, parts in PARTS.items():
            found = record["answers"][name]["shares"]
            assert set(parts) < set(found)
            assert sum(found.values()) == pytest.approx(1)
            assert min(found.values()) >= 0
        assert set(record["http"]) == {CAM, SEGMENT}
        assert record["grad_cam"]["explain"]["seconds"] < record["grad_cam"]["explain_and_model"]["seconds"]
        assert len(record["bars"]) == 1 + len(PARTS) + 2
        assert "expected at most 60 ms" in out

    def test_readme_parts_add_up(self):
        share = {"read": 0.25, "preprocess": 0.125, "model": 0.5, "decide": 0.0625, "everything else": 0.0625}
        timing = {"seconds": 0.016, "quartiles": [0.016, 0.016]}
        table = answer.readme({"answers": {CLASSIFY: {**timing, "shares": share}}, "http": {}})
        rows = dict(line.split("|")[1:3] for line in table.split("\n\n")[0].splitlines()[2:])
        rows = {k.strip(): v.strip() for k, v in rows.items()}
        assert sum(float(v) for k, v in rows.items() if v and k in share) == pytest.approx(16)
        assert rows["the whole answer"] == "16.0"
        assert rows["outside the model"] == f"{1 - sum(share.get(p, 0) for p in OF_MODEL):.0%}"

    def test_plain_gradient_is_what_grad_cam_needs(self):
        torch.manual_seed(0)
        model = OctNet(channels=(4, 4, 4, 4, 4, 8), hidden=(8, 8)).eval().requires_grad_(False)
        x = torch.randn(1, 1, 64, 128)
        gradient = forward_and_backward(model, x)
        assert gradient.shape == (1, 8, 2, 4)  # before the last pooling
        assert gradient.any()
        assert all(p.grad is None for p in model.parameters())


class TestStartup:
    def test_programs(self, run):
        out, record = run(startup, "--starts", "0", "--programs", "import octhub")
        assert list(record["programs"]) == ["import torch", "import octhub"]
        assert record["programs"]["import octhub"]["loads"] == []
        assert record["bars"][0]["met"]
        assert "loads without need" in out

    def test_stages_follow_each_other(self, tmp_path, monkeypatch):
        monkeypatch.setattr(startup, "Api", lambda url: SimpleNamespace(upload=lambda path: {}, ask=lambda *data: []))
        monkeypatch.setattr(startup.time, "time", lambda: 110.0)
        log = tmp_path / "log"
        log.write_text("STAGE 101.0 Python itself\nsomething\nSTAGE 103.0 import torch\n")
        found = startup.stages(startup.RunningApp("", 100.0, 108.0, log, pid=1), tmp_path)
        assert found == {"Python itself": 1, "import torch": 2, "serve the page": 5, "first answer": 2}

    def test_stages_are_of_the_real_app(self, root):
        code = (root / "app.py").read_text()
        for name in ("def main(", "def build_demo(", "= Classifier.from_pretrained(", "= Segmenter.from_pretrained("):
            assert name in code


class TestTraining:
    TINY = ("--batches", "1", "--skipped", "1", "--batch-size", "1", "--workers", "0", "--no-bf16")

    @pytest.fixture(autouse=True)
    def accelerate(self):
        """It holds one configuration a process."""
        AcceleratorState._reset_state(reset_partial_state=True)

    def test_octnet(self, run):
        out, record = run(training, *self.TINY, "--processes", "--models", "OctNet")
        assert [r["batches"] for r in record["data"]] == [READY, "0 workers", "0 workers, from disk"]
        assert all(0 <= r["waiting"] < 1 for r in record["data"])
        assert [b["limit"] for b in record["bars"]] == [10, 10]
        assert "waiting for data" in out

    def test_unet_and_processes(self, run, monkeypatch, capsys):
        """What `accelerate launch` would start runs here; accelerate's own parser reads its arguments."""

        def launch(command, **kwargs):
            assert command[1:3] == ["-m", "accelerate.commands.launch"]
            args = launch_command_parser().parse_args(command[3:])
            assert (args.module, args.training_script) == (True, "benchmarks.train_once")
            threads, processes = args.num_cpu_threads_per_process, args.num_processes
            assert (threads, processes, args.multi_gpu) == (1, 1, False)
            capsys.readouterr()
            assert train_once.main(args.training_script_args) == 0
            return SimpleNamespace(returncode=0, stdout=capsys.readouterr().out)

        monkeypatch.setattr(training.subprocess, "run", launch)
        _, record = run(training, *self.TINY, "--processes", "1", "--models", "UNet")
        assert [r["batches"] for r in record["data"]] == [READY, "0 workers"]
        assert [r["processes"] for r in record["processes"]] == [1]
        assert record["processes"][0]["ratio"] == 1
