"""`esprit` in a process whose Python is kept busy: `python bench/busy.py THREADS up FILE`.

The data plane must not notice. No hook in the product is needed for it: the very command runs, and
SIGUSR1 starts the threads. That is for when the team is up: with the interpreter's lock in others'
hands, coming up takes tens of seconds, and is not what is measured.
"""

import signal
import sys
import threading


def burn() -> None:
    """Computes for ever, and gives the interpreter away only when it is taken away."""
    number = 0
    while True:
        number = (number * 6364136223846793005 + 1) & 0xFFFF_FFFF_FFFF_FFFF


def main() -> None:
    """Becomes the command, and gets busy when it is told to."""
    from esprit.cli import main as command

    threads = int(sys.argv.pop(1))

    def get_busy(*_signal: object) -> None:
        for _ in range(threads):
            threading.Thread(target=burn, daemon=True).start()

    signal.signal(signal.SIGUSR1, get_busy)
    command()


if __name__ == "__main__":
    main()
