"""How the C library keeps memory that is free again: on a server that is asked for days, its habits are a leak."""

import ctypes
import platform

M_ARENA_MAX = -8
"""mallopt's name for it, of glibc's malloc.h."""

ARENAS = 2
"""Heaps for all threads; glibc itself makes up to 8 for each core."""


def few_arenas() -> bool:
    """Have all threads share two heaps; says whether the C library is one that can be told so.

    Gradio answers in any of 40 threads. With a heap each, what one has freed stays with it, and every answer in another
    takes more: memory crept up by some 90 MB over 1,000 questions (benchmarks/load.py), and by 18 with this. Models run
    one at a time here, so threads hardly ever wait for each other's heap.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS))
