"""``python -m esprit`` is the command ``esprit``."""

from esprit.cli import main

if __name__ == "__main__":
    main()
