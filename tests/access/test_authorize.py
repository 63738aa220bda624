from pathlib import Path

import pytest

from pipeline.access import Action, Principal, Resource, Scope, readable_apps, refusal
from pipeline.catalog import load_catalog
from pipeline.domain.catalog import Catalog
from tests.api.support import OWNERS, catalog_file

RESOURCES = [
    Resource(customer, deployment)
    for customer in (None, "acme", "globex", "nobody")
    for deployment in (None, "dep_acme", "dep_acme_insights", "dep_acme_vault", "dep_globex", "dep_nobody")
]
OF_ACME = {("acme", None), ("acme", "dep_acme"), ("acme", "dep_acme_insights"), ("acme", "dep_acme_vault")}
OF_GLOBEX = {("globex", None), ("globex", "dep_globex")}
ALLOWED: dict[str, dict[Action, set[tuple[str | None, str | None]]]] = {
    "dep_acme": {Action.EMIT: {("acme", "dep_acme")}, Action.READ_QUOTA: OF_ACME},
    "dep_acme_vault": {Action.EMIT: {("acme", "dep_acme_vault")}, Action.READ_QUOTA: OF_ACME},
    "dep_globex": {Action.EMIT: {("globex", "dep_globex")}, Action.READ_QUOTA: OF_GLOBEX},
    "acme": {Action.READ_QUOTA: OF_ACME},
    "globex": {Action.READ_QUOTA: OF_GLOBEX},
    "northwind": {Action.READ_QUOTA: {("acme", None), ("acme", "dep_acme"), ("acme", "dep_acme_vault")}},
    "brightwater": {Action.READ_QUOTA: {("acme", None), ("acme", "dep_acme_insights"), *OF_GLOBEX}},
    "operator": {action: set(RESOURCES) for action in Action},
}
"""Everything that is allowed; what does not stand here is not."""


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return load_catalog(catalog_file(tmp_path))


@pytest.mark.parametrize("name", OWNERS)
@pytest.mark.parametrize("action", Action)
def test_everybody_may_do_just_what_is_listed(name: str, action: Action, catalog: Catalog) -> None:
    """Of all that can be asked for, each scope is given what is listed for it, and nothing else."""
    principal = Principal("0", *OWNERS[name])

    allowed = {resource for resource in RESOURCES if refusal(principal, action, resource, catalog) is None}

    assert allowed == ALLOWED[name].get(action, set())


@pytest.mark.parametrize("scope", ["deployment", "customer", "builder"])
@pytest.mark.parametrize("action", Action)
def test_an_owner_that_left_the_catalog_may_do_nothing(scope: Scope, action: Action, catalog: Catalog) -> None:
    """A key outlives its owner's place in the catalog, and is worth nothing then."""
    principal = Principal("0", scope, "gone")

    assert all(refusal(principal, action, resource, catalog) for resource in [*RESOURCES, Resource("gone", "gone")])


def test_an_unknown_scope_may_do_nothing(catalog: Catalog) -> None:
    """What nobody has thought of is refused."""
    principal = Principal("0", "auditor", "acme")  # type: ignore[arg-type]

    assert all(refusal(principal, action, resource, catalog) for action in Action for resource in RESOURCES)


def test_a_refusal_does_not_tell_what_else_exists(catalog: Catalog) -> None:
    """Another tenant's deployment or customer is refused in the same words as one that does not exist."""
    principal = Principal("0", "deployment", "dep_acme")

    def words(action: Action, other: str, unknown: str) -> set[str | None]:
        asked = [Resource(other, None), Resource(unknown, None)]
        asked += [Resource("acme", "dep_globex"), Resource("acme", "dep_nobody")] if action is Action.EMIT else []
        return {refusal(principal, action, resource, catalog) for resource in asked}

    assert len(words(Action.READ_QUOTA, "globex", "nobody")) == 1
    assert len(words(Action.EMIT, "globex", "nobody")) == 1


def test_a_builder_sees_only_its_apps(catalog: Catalog) -> None:
    """A customer may use apps of several builders; each sees its own, everybody else all."""
    assert readable_apps(Principal("0", "builder", "northwind"), catalog) == {"helpdesk"}
    assert readable_apps(Principal("0", "builder", "gone"), catalog) == set()
    assert readable_apps(Principal("0", "customer", "acme"), catalog) is None
