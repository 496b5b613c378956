"""`python -m app -i IN -o OUT -m MODELS`: the start of a MONAI Application Package."""

from __future__ import annotations

import sys

from app.start import main_map

if __name__ == "__main__":
    sys.exit(main_map())
