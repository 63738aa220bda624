"""What the file of targets may say, and to whom alerts go."""

import base64
from pathlib import Path

import pytest

from pipeline.catalog import load_catalog
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Catalog
from pipeline.notify.notices import Notice
from pipeline.notify.targets import StdoutTarget, TargetError, WebhookTarget, load_targets
from pipeline.settings.resources import schema_path
from tests.notify.receiver import SECRET, secret_file

HOOK = "{name: a, kind: webhook, url: 'https://example.com/', secret_env: HOOK_SECRET}"
MAIL = "name: a, kind: smtp, host: mail.example.com, sender: a@example.com, recipients: [b@example.com]"


def write(folder: Path, text: str) -> Path:
    path = folder / "alerts.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(schema_path("examples", "catalog.yaml"))


def test_secrets_come_from_variables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook's secret is read where the file says, without its prefix."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    path = write(
        tmp_path,
        f"targets: [{HOOK}, {{name: b, kind: webhook, url: 'https://x.y', secret_file: {secret_file(tmp_path)}}}]",
    )

    first, second = load_targets(path, None)

    assert isinstance(first, WebhookTarget)
    assert isinstance(second, WebhookTarget)
    assert first.secret() == second.secret() == base64.b64decode(SECRET[6:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("targets: []", "0 targets"),
        ("targets: [{name: a, kind: fax}]", "fax"),
        ("targets: [{name: A b, kind: stdout}]", "small letters"),
        ("targets: [{name: a, kind: stdout}, {name: a, kind: stdout}]", "two targets"),
        ("targets: [{name: a, kind: stdout, colour: red}]", "colour"),
        ("targets: [", "no YAML"),
        (HOOK.replace("https", "http"), "must be https"),
        (HOOK.replace("example.com", "user:hunter2@example.com"), "no user or password"),
        (HOOK.replace("secret_env: HOOK_SECRET", "secret: hunter2"), "secret_env"),
        (HOOK.replace("HOOK_SECRET", "NO_SUCH_VARIABLE"), "no secret in variable NO_SUCH_VARIABLE"),
        (HOOK.replace("HOOK_SECRET", "SHORT"), "at least 24"),
        (HOOK.replace("}", ", timeout_s: 600}"), "timeout_s"),
        (HOOK.replace("}", ", customers: [nobody]}"), "nobody"),
        (f"{{{MAIL}, tls: none}}", "in the clear"),
        (f"{{{MAIL}, username: u}}", "needs a password"),
        (f"{{{MAIL}, password: hunter2}}", "password_env"),
    ],
)
def test_a_fault_is_named_without_its_secret(
    text: str, words: str, tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with the file is said, and no secret in it is repeated."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("SHORT", "whsec_aHVudGVyMg==")
    path = write(tmp_path, text if text.startswith("targets") else f"targets: [{text}]")

    with pytest.raises(TargetError) as caught:
        load_targets(path, catalog)

    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


def test_filters_by_app_need_the_catalog(tmp_path: Path) -> None:
    """Without a catalog nobody knows whose app an alert is of."""
    path = write(tmp_path, "targets: [{name: a, kind: stdout, builders: [northwind]}]")

    with pytest.raises(TargetError, match="USAGE_CATALOG"):
        load_targets(path, None)


def notice(*apps: str, customer: str = "acme", threshold: int = 80) -> Notice:
    alert = Alert(customer, "2026-11-01", "credits", "", threshold, 1)
    builders = frozenset("northwind" if app == "helpdesk" else "other" for app in apps)
    return Notice("alert_1", alert, 0, "said", "Acme", frozenset(apps), builders)


def test_a_target_gets_what_it_asks_for() -> None:
    """Filters narrow by customer, threshold, app and builder; without one, everything comes."""
    assert StdoutTarget(name="a").wants(notice())
    assert StdoutTarget(name="a", customers=frozenset(["acme"])).wants(notice())
    assert not StdoutTarget(name="a", customers=frozenset(["acme"])).wants(notice(customer="other"))
    assert StdoutTarget(name="a", thresholds=frozenset([80])).wants(notice())
    assert not StdoutTarget(name="a", thresholds=frozenset([80])).wants(notice(threshold=100))
    assert StdoutTarget(name="a", apps=frozenset(["helpdesk"])).wants(notice("helpdesk"))


@pytest.mark.parametrize("apps", [(), ("docflow",), ("helpdesk", "docflow")])
def test_no_builder_hears_of_what_may_be_anothers(apps: tuple[str, ...]) -> None:
    """A target of some builders gets an alert only when it can be of no other."""
    target = StdoutTarget(name="a", builders=frozenset(["northwind"]))

    assert target.wants(notice("helpdesk"))
    assert not target.wants(notice(*apps))
