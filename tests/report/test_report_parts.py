"""The parts of a page: escaped markup, round ticks, wide bands, and a choice of few among many."""

import json

import pytest

from simulator.metrics.interval import Estimate
from simulator.report.figures import Curve, curves, reach_of, ticks_of
from simulator.report.markup import Html, compact_json, element, json_block
from simulator.report.records import spread


def test_text_becomes_markup_by_escaping_only() -> None:
    assert element("td", "<b>", None, [Html("<i>"), "&"], class_='a"b', hidden=True, x=1.50) == (
        '<td class="a&quot;b" hidden x="1.5">&lt;b&gt;<i>&amp;</td>'
    )
    assert element("br", title=None, hidden=False) == "<br>"
    block = json_block("x", compact_json(["</script><!--", "\u2028", "&amp;"]))
    assert block.count("<") == 2 and "&" not in block and "\u2028" not in block
    assert json.loads(block[block.index(">") + 1 : -len("</script>")])[0] == "</script><!--"
    with pytest.raises(ValueError):
        compact_json(float("nan"))


def test_ticks_are_round_and_within() -> None:
    for low, high in ((0.0, 1.0), (17.3, 24.1), (-0.02, 0.13), (1e-6, 3e-6), (5.0, 5000.0)):
        ticks = ticks_of(low, high)
        assert 2 <= len(ticks) <= 8 and low <= ticks[0] and ticks[-1] <= high + 1e-9
    assert ticks_of(2.0, 2.0) == [2.0]


def test_wide_bands_leave_room_for_the_means() -> None:
    low, high = reach_of([Estimate(20.0, 11.0, 2), Estimate(22.0, 0.5, 9)])
    assert low < 20 and high > 22.5 and high - low < 7
    one = curves("PSNR", "SNR", [Curve("a", 0, [(1.0, Estimate(3.0, None, 1))])], [(1.0, "1")], 2)
    assert "NaN" not in one and "inf" not in one


def test_few_of_many_are_spread() -> None:
    assert spread(list(range(10)), 4) == [0, 3, 6, 9]
    assert spread([1, 2], 4) == [1, 2] and spread([1, 2], 1) == [1] and spread([1], 0) == []
