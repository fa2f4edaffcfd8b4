"""Write the document from which the page's types are made: `python -m clew.web.write_openapi web/openapi.json`."""

from __future__ import annotations

import sys

from clew import files
from clew.web.app import declared
from clew.web.openapi import document


def main() -> None:
    """Write the document to the path that is given."""
    files.write_json(sys.argv[1], document(declared()))


if __name__ == "__main__":
    main()
