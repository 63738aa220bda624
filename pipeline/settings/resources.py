"""Where the files that travel with the package lie."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def schema_path(*parts: str) -> Path:
    """Return the path below `schemas/`: of an installed wheel when it has one, else of the checkout."""
    packaged = _PACKAGE / "_schemas"
    root = packaged if packaged.is_dir() else _PACKAGE.parent / "schemas"
    return root.joinpath(*parts)
