"""``python -m nfa``: the command ``nfa`` of this interpreter."""

import sys

from nfa.warm import main

if __name__ == "__main__":
    sys.exit(main())
