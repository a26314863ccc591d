"""`esprit` in a process whose Python is kept busy: `python bench/busy.py THREADS up FILE`.

The data plane must not notice. No hook in the product is needed for it: threads are started here,
and then the very command runs.
"""

import sys
import threading


def burn() -> None:
    """Computes for ever, and gives the interpreter away only when it is taken away."""
    number = 0
    while True:
        number = (number * 6364136223846793005 + 1) & 0xFFFF_FFFF_FFFF_FFFF


def main() -> None:
    """Starts the threads and becomes the command."""
    from esprit.cli import main as command

    threads = int(sys.argv.pop(1))
    for _ in range(threads):
        threading.Thread(target=burn, daemon=True).start()
    command()


if __name__ == "__main__":
    main()
