"""Closing a period (R10)."""

import pytest

from pipeline.domain.admission import Envelope
from pipeline.domain.closings import Close, Closing, apply_close, closes_at_us, parse_close
from pipeline.domain.rejects import Rejected
from tests.domain.world import NOON, World, at, ms

GRACE_OVER = "2026-12-04T00:00:00Z"
RECORD = {"type": "close", "id": "c1", "customer": "acme", "app": "docflow", "period": "2026-11-01"}


def close(world: World, when: str, **changes: str) -> Closing | None:
    wanted = parse_close(RECORD | changes)
    return apply_close(world.catalog, world.state, wanted, Envelope(wanted.customer, ms(when)))


@pytest.mark.rule("R10.1")
def test_a_close_record_names_what_it_closes() -> None:
    """Customer, app and period are taken from the record."""
    assert parse_close(RECORD) == Close("c1", "acme", "docflow", "2026-11-01")


@pytest.mark.rule("R10.1")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"period": "2026-13-01"}, "invalid_field"),
        ({"period": "20261101"}, "invalid_field"),
        ({"app": None}, "invalid_field"),
        ({"id": ""}, "invalid_field"),
    ],
)
def test_a_close_record_without_a_sound_form_is_rejected(changes: dict[str, object], code: str) -> None:
    """Each field must be there, and the period be a day."""
    with pytest.raises(Rejected) as caught:
        parse_close(RECORD | changes)

    assert caught.value.code == code


@pytest.mark.rule("R10.2")
def test_a_period_closes_after_its_end_and_grace() -> None:
    """With 72 hours of grace November may be closed from 4 December on, and not a millisecond earlier."""
    world = World()
    world.line(time=NOON)

    with pytest.raises(Rejected, match="may be closed from 2026-12-04") as caught:
        close(world, "2026-12-03T23:59:59.999Z")
    closing = close(world, GRACE_OVER)

    assert caught.value.code == "invalid_field"
    assert closes_at_us(world.catalog, "acme", "docflow", "2026-11-01") == at(GRACE_OVER)
    assert closing is not None
    assert (closing.cut_off, closing.closed_at) == (1, "2026-12-04T00:00:00.000000Z")


@pytest.mark.rule("R10.2", "R3.2")
def test_what_comes_after_a_closing_is_posted_to_the_next_period() -> None:
    """A record stamped before the closing, with a time in the closed period, cannot get into it any more."""
    world = World()
    close(world, GRACE_OVER)

    line = world.line(sent="2026-12-03T10:00:00Z", time="2026-11-20T10:00:00Z")

    assert (line.period, line.late) == ("2026-12-01", True)


@pytest.mark.rule("R10.2")
def test_an_old_record_cannot_get_into_a_closed_period() -> None:
    """A record whose own timestamp lies in the closed period is posted at the watermark; in another app's, as R3.2 says."""
    world = World()
    close(world, GRACE_OVER)

    line = world.line(sent=NOON, time=NOON)

    assert (line.posted_at, line.period, line.late) == ("2026-12-04T00:00:00.000000Z", "2026-12-01", True)


@pytest.mark.rule("R10.1")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"app": "elsewhere"}, "no_subscription"),
        ({"period": "2026-11-02"}, "no_subscription"),
        ({"customer": "nobody"}, "unknown_customer"),
    ],
)
def test_what_does_not_exist_is_not_closed(changes: dict[str, str], code: str) -> None:
    """An app, period or customer that the catalog does not have is rejected, and leaves no trace."""
    world = World()

    with pytest.raises(Rejected) as caught:
        close(world, GRACE_OVER, **changes)

    assert caught.value.code == code
    assert world.state.watermark_ms == -1


@pytest.mark.rule("R10.1")
def test_a_repeated_close_is_ignored() -> None:
    """The same id closes once: the cut-off stays where it was."""
    world = World()
    close(world, GRACE_OVER)
    world.line(time="2026-12-05T10:00:00Z")

    assert close(world, "2026-12-06T00:00:00Z") is None


@pytest.mark.rule("R10.3")
def test_a_closing_names_cut_off_and_catalog() -> None:
    """The cut-off is the customer's last line, of whatever app."""
    world = World()
    world.line(time=NOON)
    world.line(time=NOON, id="second")

    assert close(world, GRACE_OVER) == Closing(
        "c1", "acme", "docflow", "2026-11-01", 2, "2026-12-04T00:00:00.000000Z", world.catalog.digest
    )
