"""`python -m cas_run`: the command, where no script was put on the path."""

import sys

from cas_run.start import main

if __name__ == "__main__":
    sys.exit(main())
