"""The right to make namespaces: as root, or as root of a user namespace of our own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from esprit.demo import lab

#: Set in the copy of this process that runs in a user namespace, so that it does not try again.
_UNSHARED = "ESPRIT_DEMO_UNSHARED"
#: A user namespace in which we are root, with network and mounts of its own. What is mounted there
#: is seen nowhere else; iproute2 and Esprit keep their state under /run, which we may not write.
_UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--propagation", "private")
_MOUNT = "mount -t tmpfs tmpfs /run"


def obstacle() -> str | None:
    """What stands against the demonstration in this process: one line with the remedy, or None."""
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"this system lacks {program}: install the package {package}"
    return lab.missing()


def unshared(arguments: Sequence[str]) -> int | None:
    """Runs the demonstration in a user namespace, where this process is not root.

    Args:
        arguments: the demonstration's own arguments.

    Returns:
        Its exit status, or None where that kernel or this system's policy has no such namespaces.
    """
    if os.geteuid() == 0 or _UNSHARED in os.environ or shutil.which("unshare") is None:
        return None
    # The same tests that the copy would make, so that a refusal reads as one line, not two.
    probe = f"{_MOUNT} && [ -c /dev/net/tun ] && : <>/dev/net/tun && ip netns add probe"
    tried = subprocess.run([*_UNSHARE, "sh", "-c", probe], capture_output=True, check=False)
    if tried.returncode != 0:
        return None
    script = f'{_MOUNT} && exec "$0" -m esprit.demo "$@"'
    command = [*_UNSHARE, "sh", "-c", script, sys.executable, *arguments]
    return subprocess.run(command, env=os.environ | {_UNSHARED: "1"}, check=False).returncode
