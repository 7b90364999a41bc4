"""The machine that figures come from."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import psutil
import torch

import octhub


def machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Name and size of what runs the benchmark, and the versions of what decides its speed."""
    found = {
        "name": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "octhub": octhub.__version__,
    }
    if torch.device(device).type == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return found


def processor() -> str:
    """The processor's name, as its maker says it."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.is_file() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def told(machine: dict[str, Any]) -> str:
    """A machine in a line."""
    cpu = f"{machine['name']}, {machine['cores']} cores, {machine['instructions']}, {machine['memory_gb']} GB"
    gpu = f"{machine['gpu']} (CUDA {machine['cuda']}); " if "gpu" in machine else ""
    return f"{gpu}{cpu}; torch {machine['torch']}, Python {machine['python']}"


def slug(machine: dict[str, Any]) -> str:
    """A machine in a file's name: "amd-epyc-2", "nvidia-h100-80gb-hbm3"."""
    name = machine.get("gpu") or f"{machine['name']}-{machine['cores']}"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
