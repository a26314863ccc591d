"""Processor time of a process, thread by thread."""

from pathlib import Path

#: Threads of the data plane, by the beginning of their names, and what they do.
WORKER, SIMULATED, CORES = "esprit-worker", "esprit-asic", "esprit-cpu-"


def seconds(pid: int) -> dict[str, float]:
    """Processor seconds of a process's threads, by the threads' names.

    A thread that ends meanwhile is left out.
    """
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text(encoding="utf-8", errors="replace").strip()
            # Nanoseconds on a processor; `stat` counts ticks of a hundredth of a second.
            spent = int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            continue
        found[name] = found.get(name, 0.0) + spent / 1e9
    return found


def spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What each name's threads took between two looks."""
    return {name: total - before.get(name, 0.0) for name, total in after.items()}


def split(threads: dict[str, float]) -> tuple[float, float]:
    """The host's own seconds, and those of simulated engines: on real NICs nobody spends them."""
    simulated = sum(took for name, took in threads.items() if name.startswith(SIMULATED))
    return sum(threads.values()) - simulated, simulated
