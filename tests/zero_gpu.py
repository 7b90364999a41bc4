"""Starts the app.py of the working folder as on ZeroGPU, by the real `spaces`, with the CPU in the GPU's place.

`spaces` emulates CUDA until a function that needs the GPU is called, in a fork. Here the emulation goes on there. So it
is the order of imports that is put to the test, the models on "cuda" from the start, and all that crosses the fork.
"""

import functools
import os
import runpy
import sys

import spaces
from spaces.zero import torch as zero
from spaces.zero.torch import patching

decorate = spaces.GPU


def pack() -> int:
    """Says how much is on the GPU; the weights stay where they are, instead of on disk until a GPU is there."""
    print("on the GPU:", len(patching.cuda_aliases), "tensors", flush=True)
    return 0


def emulated(duration: int):
    """`spaces.GPU`; the emulation is a matter of threads, and functions run in new ones."""

    def decorator(task):
        @functools.wraps(task)
        def emulating(*args):
            zero.enter_mode()
            return task(*args)

        return decorate(duration=duration)(emulating)

    return decorator


def nothing(*args, **kwargs) -> None:
    """In place of what needs a GPU."""


spaces.GPU = emulated
zero.pack, zero.init, zero.move, zero.unpatch = pack, nothing, nothing, nothing
sys.path[0] = os.getcwd()  # as for `python app.py`
runpy.run_path("app.py", run_name="__main__")
