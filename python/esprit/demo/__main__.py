"""``python -m esprit.demo`` is the command ``esprit demo``."""

import sys

from esprit.demo import main

if __name__ == "__main__":
    sys.exit(main())
