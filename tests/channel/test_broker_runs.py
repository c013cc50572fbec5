"""How long a run binds the settings of those who work on it, and what is said about it."""

from __future__ import annotations

from typing import Any

from broker_world import World, confirm, hello, result

from simulator.link import messages as m


def served(w: World) -> None:
    """A tx in the middle of its run, of which rx has done a frame."""
    w.tx()
    w.rx(settings="a", about={"steps": "10", "solver": "ddim"})
    w.say("back", b"r", result(0))


def comes_back(w: World, **fields: Any) -> m.Message:
    """rx, started again with other settings; what it hears."""
    told = {"settings": "b", "about": {"steps": "20", "solver": "ddim"}} | fields
    return w.say("back", b"r2", hello("rx", "rx", **told))[0]


def test_a_receiver_with_other_settings_is_refused_while_the_run_goes_on() -> None:
    w = World()
    served(w)
    w.hear(b"t")
    refused = comes_back(w)
    assert isinstance(refused, m.Reject) and refused.code == "settings"
    for words in ("steps was 10 and is 20", "tx 'tx'", "start it as it was", "has ended"):
        assert words in refused.reason
    assert "solver" not in refused.reason
    told = [each for each in w.hear(b"t") if isinstance(each, m.Nack)]
    assert [each.code for each in told] == ["receiver-refused"] and told[0].reason == refused.reason


def test_a_run_ends_when_its_tx_has_confirmed_and_is_gone() -> None:
    w = World()
    served(w)
    w.later(10)  # tx is gone, and has not confirmed
    assert isinstance(comes_back(w), m.Reject)
    w.tx(b"t2")
    w.say("front", b"t2", confirm(0))
    assert isinstance(comes_back(w), m.Reject)  # it is here, and may go on
    w.later(10)
    assert isinstance(comes_back(w), m.Welcome)


def test_a_receiver_that_served_nobody_may_change() -> None:
    w = World()
    w.tx()
    w.rx(settings="a")
    assert not isinstance(comes_back(w), m.Reject)


def test_another_run_is_not_bound_by_the_last() -> None:
    w = World()
    served(w)
    w.say("front", b"t", confirm(0))
    w.later(10)
    w.tx(b"other", "tx-b", run="another")
    assert not isinstance(comes_back(w), m.Reject)


def test_a_tx_that_comes_later_hears_why_there_is_no_receiver() -> None:
    w = World()
    served(w)
    w.later(3, ("front", b"t"))
    comes_back(w)
    told = w.tx(b"late", "late")
    assert any(isinstance(each, m.Nack) and each.code == "receiver-refused" for each in told)
    w.rx(b"r3", settings="a")
    assert not any(isinstance(each, m.Nack) for each in w.tx(b"later", "later"))
