"""`python -m llmdeal_litellm.cli`, the same as the `llmdeal` command."""

import sys

from llmdeal_litellm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
