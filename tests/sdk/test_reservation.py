"""Reservations: held at once, committed once, given back."""

import pytest

from pipeline.sdk import InvalidEvent, Limits
from tests.sdk.support import USED, Told, client_of, until


@pytest.mark.rule("R9.1", "R9.4")
def test_a_reservation_is_committed_by_the_usage_event() -> None:
    """The reserve has its id and time to live; the commit has an id of its own, what was used, and the operation."""
    transport = Told()
    client = client_of(transport)

    reservation = client.reserve(**USED, quantity=3, operation="job-88", ttl_s=30)
    committed = reservation.commit(quantity=2, input_tokens=10)
    client.close()

    reserve, usage = transport.events
    assert (reserve["type"], reserve["id"], reserve["data"]["ttl_s"]) == ("ai.usage.reserve.v1", reservation.id, 30)
    assert (reserve["data"]["quantity"], "operation" in reserve["data"]) == (3, False)
    assert (usage["type"], usage["id"], usage["data"]["reservation"]) == ("ai.usage.v1", committed, reservation.id)
    assert (usage["data"]["quantity"], usage["data"]["input_tokens"], usage["data"]["operation"]) == (2, 10, "job-88")
    assert committed != reservation.id


def test_a_reservation_does_not_linger() -> None:
    """Others see what is held at once; what waited before goes with it."""
    transport = Told()
    client = client_of(transport, limits=Limits(linger_s=60))
    client.emit(**USED)

    client.reserve(**USED)
    until(lambda: len(transport.events) == 2)

    assert [event["type"] for event in transport.attempts[0]] == ["ai.usage.v1", "ai.usage.reserve.v1"]
    client.close()


@pytest.mark.rule("R9.5")
def test_a_block_that_raises_gives_it_back() -> None:
    """As a context manager a reservation ends with the block: released unless committed; exceptions pass unchanged."""
    transport = Told()
    client = client_of(transport)

    with pytest.raises(KeyError, match="the host's"), client.reserve(**USED) as failed:
        raise KeyError("the host's")
    with client.reserve(**USED) as used:
        used.commit()
    with client.reserve(**USED) as unused:
        pass
    unused.release()
    client.close()

    told = [(event["type"], event["data"].get("reservation")) for event in transport.events]
    assert told == [
        ("ai.usage.reserve.v1", None),
        ("ai.usage.release.v1", failed.id),
        ("ai.usage.reserve.v1", None),
        ("ai.usage.v1", used.id),
        ("ai.usage.reserve.v1", None),
        ("ai.usage.release.v1", unused.id),
    ]


def test_what_was_used_once_is_committed_once() -> None:
    """A second commit is a fault of the host that is counted, not a second charge."""
    transport = Told()
    client = client_of(transport)
    reservation = client.reserve(**USED)

    assert reservation.commit() is not None
    assert reservation.commit() is None
    client.close()

    assert [event["type"] for event in transport.events] == ["ai.usage.reserve.v1", "ai.usage.v1"]
    assert client.stats().invalid == 1


def test_without_a_reservation_usage_is_reported_all_the_same() -> None:
    """A reserve that could not be taken holds nothing, and does not hide what is used."""
    transport = Told()
    client = client_of(transport)

    with client.reserve(**USED, ttl_s=0) as reservation:
        reservation.commit()
    client.close()

    assert reservation.id is None
    assert [(event["type"], event["data"].get("reservation")) for event in transport.events] == [("ai.usage.v1", None)]


def test_a_strict_client_says_what_is_wrong() -> None:
    """With strict, emit and reserve raise what would else be logged."""
    client = client_of(Told(), strict=True)

    with pytest.raises(InvalidEvent, match="ttl_s"):
        client.reserve(**USED, ttl_s=0)
    with pytest.raises(InvalidEvent, match=r"data\.unit: required"):
        client.emit(**USED | {"unit": None})
    client.close()
