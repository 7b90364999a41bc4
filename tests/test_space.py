"""The Space's files: which there are, README.md's settings and page, and the pins that app.py reads."""

import json
import shutil
import subprocess

import pytest
from huggingface_hub import SpaceCard, SpaceHardware
from test_packaging import requirements

from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from training.space_card import PinnedModel
from training.space_files import space_files, tracked

MODELS = PinnedModel("owner/octnet", "0123456789" * 4), PinnedModel("owner/unet", "abcdef0123" * 4)


@pytest.fixture
def clone(root, tmp_path):
    """A clone of the repository, without checkpoints, to change."""
    for name in tracked(root):
        if not name.startswith(("checkpoints/", "docs/", "tests/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, tmp_path / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def settings(files: dict[str, bytes]) -> dict:
    return SpaceCard(files["README.md"].decode()).data.to_dict()


class TestFiles:
    def test_what_is_shipped(self, root):
        files = space_files(*MODELS)
        ours = {p for p in tracked(root) if p.startswith(("octhub/", "examples/", "page/"))}
        app = {p.name for pattern in ("*.py", "*.css") for p in root.glob(pattern)}
        assert files.keys() == ours | app | {"LICENSE", "README.md", "models.json", "requirements.txt"}
        made = ("README.md", "models.json")
        assert all(data == (root / name).read_bytes() for name, data in files.items() if name not in made)

    def test_what_the_app_comes_to_need_is_shipped(self, clone):
        subprocess.run(["git", "add", "."], cwd=clone, check=True)
        before = space_files(*MODELS, clone).keys()
        for name in ("lazy.py", "logo.svg", "words.txt", "octhub/deep/data.json", "stray.txt", "stray.py", "test.py"):
            (clone / name).parent.mkdir(exist_ok=True)
            (clone / name).write_text("")
        with (clone / "tabs.py").open("a") as f:
            f.write("\n\ndef later():\n    import lazy\n    return lazy, Path('logo.svg')\n")
        (clone / "lazy.py").write_text("WORDS = 'words.txt', 'test'\n")
        assert space_files(*MODELS, clone).keys() == before  # what git doesn't have may be anybody's
        (clone / "examples" / "link.png").symlink_to(clone / "stray.txt")
        subprocess.run(["git", "add", "."], cwd=clone, check=True)
        after = space_files(*MODELS, clone).keys()
        assert after - before == {"lazy.py", "logo.svg", "words.txt", "octhub/deep/data.json"}
        assert before <= after

    def test_what_git_ignores_is_not_shipped(self, clone):
        before = space_files(*MODELS, clone).keys()
        for name in ("octhub/__pycache__/scan.pyc", "examples/build/x.png", "runs/app.css"):
            (clone / name).parent.mkdir(parents=True)
            (clone / name).write_text("")
        assert space_files(*MODELS, clone).keys() == before

    def test_models_json_pins_both(self):
        pins = json.loads(space_files(*MODELS)["models.json"])
        assert pins == {"classifier": f"owner/octnet@{'0123456789' * 4}", "segmenter": f"owner/unet@{'abcdef0123' * 4}"}


class TestReadme:
    def test_settings_are_the_repositorys_and_the_pins(self, root):
        found = settings(space_files(*MODELS))
        added = {
            "models": ["owner/octnet", "owner/unet"],
            "preload_from_hub": [
                f"owner/octnet config.json,model.safetensors {'0123456789' * 4}",
                f"owner/unet config.json,model.safetensors {'abcdef0123' * 4}",
            ],
            "suggested_hardware": SpaceHardware.ZERO_A10G.value,
        }
        assert found == {**SpaceCard.load(root / "README.md").data.to_dict(), **added}
        assert all(isinstance(value, str | list) for value in found.values())  # a version is no number
        assert found["sdk_version"] == requirements("requirements.txt")["gradio"].removeprefix("gradio==")

    def test_page_says_what_it_is_and_whose(self, root):
        page = SpaceCard(space_files(*MODELS, space_id="someone/octhub")["README.md"].decode()).text
        assert "not a medical device" in page
        for model in MODELS:
            assert f"https://huggingface.co/{model.repo_id}/tree/{model.revision}" in page
        for example in json.loads((root / "examples" / "manifest.json").read_text())["examples"]:
            assert {example[key] in page for key in ("file", "source", "licence", "attribution")} == {True}
        assert 'Client("someone/octhub")' in page
        assert 'Client("OWNER/NAME")' in space_files(*MODELS)["README.md"].decode()

    @pytest.mark.parametrize(
        ("line", "instead", "problem"),
        [
            ("sdk_version: 6.31.0", "sdk_version: 6.30.0", "sdk_version is '6.30.0', but requirements.txt has no gra"),
            ("app_file: app.py", "app_file: main.py", "app_file is 'main.py', expected 'app.py'"),
            ("sdk: gradio", "sdk: docker", "sdk is 'docker', expected 'gradio'"),
            ("license: apache-2.0", "x: y", "no license"),
            ("short_description: ", f"short_description: {'x' * 61} #", "short_description has 61 characters"),
        ],
    )
    def test_settings_that_the_hub_would_refuse(self, clone, line, instead, problem):
        text = (clone / "README.md").read_text()
        assert line in text
        (clone / "README.md").write_text(text.replace(line, instead, 1))
        with pytest.raises(ValueError, match=problem):
            space_files(*MODELS, clone)

    @pytest.mark.parametrize(
        ("repo_id", "revision"),
        [("octnet", "0" * 40), ("a/b/c", "0" * 40), ("owner/octnet", "main"), ("owner/octnet", "0" * 7)],
    )
    def test_a_pin_is_a_commit_of_a_repo(self, repo_id, revision):
        with pytest.raises(ValueError, match=repo_id):
            PinnedModel(repo_id, revision)

    def test_records_are_preloaded_where_there_are_any(self):
        model = PinnedModel("owner/octnet", "0" * 40, ("metrics.json", "training.json"))
        assert model.preload == f"owner/octnet config.json,model.safetensors,metrics.json,training.json {'0' * 40}"

    def test_the_hub_adds_what_only_a_space_needs(self):
        """A `spaces` of ours could be another one than ZeroGPU's."""
        assert "spaces" not in requirements("requirements.txt")


class TestOptions:
    PINS = {"classifier": "owner/octnet@main", "segmenter": "owner/unet@main"}  # noqa: RUF012

    @pytest.fixture
    def options(self, app, monkeypatch, tmp_path):
        """app.py's options, with a folder of its own."""
        for name in ("OCTHUB_CLASSIFIER", "OCTHUB_SEGMENTER"):
            monkeypatch.delenv(name, raising=False)
        module = app()
        monkeypatch.setattr(module, "HERE", tmp_path)
        return module.options

    def test_environment_before_models_json_before_embedded(self, options, monkeypatch, tmp_path):
        def models():
            found = options([])
            return found.classifier, found.segmenter

        assert models() == (DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER)
        (tmp_path / "models.json").write_text(json.dumps(self.PINS))
        assert models() == ("owner/octnet@main", "owner/unet@main")
        monkeypatch.setenv("OCTHUB_SEGMENTER", "owner/other")
        assert models() == ("owner/octnet@main", "owner/other")
        assert options(["--segmenter", "folder"]).segmenter == "folder"

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("{", "not JSON"),
            ("[1]", "found a list, expected classifier and segmenter"),
            ('{"classifier": "owner/octnet"}', "found classifier, expected classifier and segmenter"),
            ('{"classifier": "owner/octnet", "segmenter": null}', "segmenter is None, expected 'owner/name@revision'"),
        ],
    )
    def test_a_bad_models_json(self, app, monkeypatch, tmp_path, content, problem):
        module = app()
        monkeypatch.setattr(module, "HERE", tmp_path)
        (tmp_path / "models.json").write_text(content)
        with pytest.raises(SystemExit, match=f"app.py: .*models.json: {problem}"):
            module.main([])
