"""A catalog from a file or a folder."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.catalog.build import build_catalog
from pipeline.catalog.faults import CatalogError, Fault
from pipeline.catalog.form import form_faults
from pipeline.catalog.positions import YamlFile, read_yaml
from pipeline.catalog.references import reference_faults
from pipeline.catalog.semantics import semantic_faults
from pipeline.domain.catalog import Catalog


def load_catalog(path: Path) -> Catalog:
    """Return the catalog of a file, or of all `*.yaml` and `*.yml` files below a folder (R4.1).

    Raises CatalogError with every fault.
    """
    files, faults = read_catalog(path)
    if faults:
        raise CatalogError(faults)
    return build_catalog(files)


def check_catalog(path: Path) -> list[Fault]:
    """Return every fault of a catalog, in the order of files and lines."""
    return read_catalog(path)[1]


def read_catalog(path: Path) -> tuple[list[YamlFile], list[Fault]]:
    """Return a catalog's files and every fault in them."""
    try:
        files = [read_yaml(str(each), each.read_bytes()) for each in _yaml_paths(path)]
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "give a catalog file, or a folder of them"
        return [], [Fault(str(error.filename or path), 0, 0, "", f"cannot be read ({reason})", hint)]
    if not files:
        return [], [Fault(str(path), 0, 0, "", "holds no *.yaml or *.yml file", "put the catalog there")]
    faults: list[Fault] = []
    for file in files:
        faults += [*file.faults, *_form(file)]
    faults += reference_faults(files)
    faults += semantic_faults(str(path), files)
    return files, _in_order(files, faults)


def _yaml_paths(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [each for each in path.rglob("*") if each.suffix in (".yaml", ".yml") and each.is_file()]
    return sorted(each for each in found if not any(part.startswith(".") for part in each.relative_to(path).parts))


def _form(file: YamlFile) -> list[Fault]:
    if isinstance(file.root, dict):
        return form_faults(file)
    if file.root is None and file.faults:
        return []
    found = "is empty" if file.root is None else "is not a mapping of keys"
    return [Fault(file.name, 1, 1, "", found, "begin with keys such as currency, plans and customers")]


def _in_order(files: Sequence[YamlFile], faults: list[Fault]) -> list[Fault]:
    order = {file.name: number for number, file in enumerate(files)}
    return sorted(faults, key=lambda fault: (order.get(fault.file, -1), fault.line, fault.column))
