from pathlib import Path

import pytest

from pipeline.access import Action, Principal, Resource, Scope, Sight, readable_apps, refusal, sees_costs, sight_of
from pipeline.catalog import load_catalog
from pipeline.domain.catalog import Catalog
from tests.api.support import OWNERS, catalog_file

APPS = (None, "helpdesk", "insights", "nothing")
OF_DEPLOYMENTS = [
    Resource(customer, deployment)
    for customer in (None, "acme", "globex", "nobody")
    for deployment in (None, "dep_acme", "dep_acme_insights", "dep_acme_vault", "dep_globex", "dep_nobody")
]
OF_BILLS = [Resource(customer, app=app) for customer in (None, "acme", "globex", "nobody") for app in APPS]
OF_BUILDERS = [Resource(builder=builder) for builder in (None, "northwind", "brightwater", "nobody")]
ASKED = {
    Action.READ_BILLS: OF_BILLS,
    Action.READ_EARNINGS: OF_BUILDERS,
    Action.READ_REWARDS: [Resource()],
    Action.OPERATE: [Resource()],
}
"""What is asked for by which action; by the others, deployments."""
ALL = [*OF_DEPLOYMENTS, *OF_BILLS, *OF_BUILDERS]


def deployments(*asked: tuple[str, str | None]) -> set[Resource]:
    return {Resource(*each) for each in asked}


def bills(customers: tuple[str | None, ...], apps: tuple[str | None, ...]) -> set[Resource]:
    return {Resource(customer, app=app) for customer in customers for app in apps}


OF_ACME = deployments(("acme", None), ("acme", "dep_acme"), ("acme", "dep_acme_insights"), ("acme", "dep_acme_vault"))
OF_GLOBEX = deployments(("globex", None), ("globex", "dep_globex"))
ALLOWED: dict[str, dict[Action, set[Resource]]] = {
    "dep_acme": {Action.EMIT: deployments(("acme", "dep_acme")), Action.READ_QUOTA: OF_ACME},
    "dep_acme_vault": {Action.EMIT: deployments(("acme", "dep_acme_vault")), Action.READ_QUOTA: OF_ACME},
    "dep_globex": {Action.EMIT: deployments(("globex", "dep_globex")), Action.READ_QUOTA: OF_GLOBEX},
    "acme": {Action.READ_QUOTA: OF_ACME, Action.READ_BILLS: bills((None, "acme"), APPS)},
    "globex": {Action.READ_QUOTA: OF_GLOBEX, Action.READ_BILLS: bills((None, "globex"), APPS)},
    "northwind": {
        Action.READ_QUOTA: deployments(("acme", None), ("acme", "dep_acme"), ("acme", "dep_acme_vault")),
        Action.READ_BILLS: bills((None, "acme"), (None, "helpdesk")),
        Action.READ_EARNINGS: {Resource(builder="northwind")},
    },
    "brightwater": {
        Action.READ_QUOTA: deployments(("acme", None), ("acme", "dep_acme_insights")) | OF_GLOBEX,
        Action.READ_BILLS: bills((None, "acme", "globex"), (None, "insights")),
        Action.READ_EARNINGS: {Resource(builder="brightwater")},
    },
    "operator": {action: set(ASKED.get(action, OF_DEPLOYMENTS)) for action in Action},
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

    asked = ASKED.get(action, OF_DEPLOYMENTS)
    allowed = {resource for resource in asked if refusal(principal, action, resource, catalog) is None}

    assert allowed == ALLOWED[name].get(action, set())


@pytest.mark.parametrize("scope", ["deployment", "customer", "builder"])
@pytest.mark.parametrize("action", Action)
def test_an_owner_that_left_the_catalog_may_do_nothing(scope: Scope, action: Action, catalog: Catalog) -> None:
    """A key outlives its owner's place in the catalog, and is worth nothing then."""
    principal = Principal("0", scope, "gone")

    assert all(
        refusal(principal, action, resource, catalog) for resource in [*ALL, Resource("gone", "gone", "gone", "gone")]
    )


def test_an_unknown_scope_may_do_nothing(catalog: Catalog) -> None:
    """What nobody has thought of is refused."""
    principal = Principal("0", "auditor", "acme")  # type: ignore[arg-type]

    assert all(refusal(principal, action, resource, catalog) for action in Action for resource in ALL)


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


def test_bills_are_refused_in_words_that_tell_nothing(catalog: Catalog) -> None:
    """A customer, an app or a builder that is another's is refused as one that does not exist."""
    northwind, acme = Principal("0", "builder", "northwind"), Principal("0", "customer", "acme")

    def words(principal: Principal, action: Action, *asked: Resource) -> set[str | None]:
        return {refusal(principal, action, resource, catalog) for resource in asked}

    others = [Resource("globex"), Resource("nobody"), Resource("acme", app="insights"), Resource(app="nothing")]
    assert len(words(northwind, Action.READ_BILLS, *others)) == 1
    assert len(words(acme, Action.READ_BILLS, Resource("globex"), Resource("nobody"), Resource("globex", app="x"))) == 1
    assert len(words(northwind, Action.READ_EARNINGS, *(Resource(builder=name) for name in ("brightwater", "x")))) == 1


def test_sight_is_what_a_list_may_hold(catalog: Catalog) -> None:
    """A customer sees itself in all its apps, a builder all customers in its apps, an operator everything."""
    assert sight_of(Principal("0", "customer", "acme"), catalog) == Sight("acme", None)
    assert sight_of(Principal("0", "builder", "northwind"), catalog) == Sight(None, frozenset({"helpdesk"}))
    assert sight_of(Principal("0", "operator", None), catalog) == Sight(None, None)
    assert [sees_costs(Principal("0", scope, "x")) for scope in ("deployment", "customer", "builder", "operator")] == [
        False,
        False,
        True,
        True,
    ]
