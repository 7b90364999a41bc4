"""The app, telling when each stage of its start is done: `python -m benchmarks.app_stages --port PORT`.

It prints "STAGE seconds name" by time.time(), and serves as app.py does. Whatever several packages need counts for the
first that imports it, in the order torch, gradio, octhub, the app's own files.
"""

import time


def stage(name: str) -> None:
    print(f"STAGE {time.time():.4f} {name}", flush=True)


def main() -> None:
    stage("Python itself")
    import torch  # noqa: F401 - timed alone

    stage("import torch")
    import gradio  # noqa: F401 - likewise

    stage("import gradio")
    import octhub.predict  # noqa: F401 - likewise

    stage("import octhub.predict")
    import app

    stage("import the app's other files")
    app.Classifier.from_pretrained = after("classifier's checkpoint", app.Classifier.from_pretrained)
    app.Segmenter.from_pretrained = after("segmenter's checkpoint", app.Segmenter.from_pretrained)
    app.build_demo = after("build the page", app.build_demo)
    app.main()


def after(name: str, fn):
    """`fn`, which tells when it is done."""

    def run(*args, **kwargs):
        result = fn(*args, **kwargs)
        stage(name)
        return result

    return run


if __name__ == "__main__":
    main()
