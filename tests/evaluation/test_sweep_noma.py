"""Two users at once in a sweep: pairs, what their rows are charged, and what is refused."""

from __future__ import annotations

import pytest
from helpers import make_photographs
from sweep_world import experiment, swept, without_times

from simulator.errors import SettingsError
from simulator.methods.registry import Context, make_method

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")

JPEG = "noma-capacity:source=jpeg2000"
METHODS = ["jscc", "noma:user=1", "noma:user=2", f"{JPEG},user=1", f"{JPEG},user=2"]


def test_both_users_of_a_pair_are_charged_what_each_alone_is(photographs, tmp_path):
    plan = experiment(photographs, methods=METHODS, channel=["rayleigh"], cbr=["1/96"])
    rows = swept(plan, tmp_path / "out").rows
    assert [row["status"] for row in rows] == ["delivered"] * 10
    assert {row["bandwidth_ratio"] for row in rows} == {1 / 96}
    assert {row["k"] for row in rows} == {64 * 96 * 3 // 96}
    at = {(row["method"], row["image"]): row["details"] for row in rows}
    one, other = (row["image"] for row in rows[:2])
    for ones, others in (METHODS[1:3], METHODS[3:]):
        for first, second in ((one, other), (other, one)):
            pair = at[ones, first], at[others, second]
            assert [each["symbols"] for each in pair] == [384, 384]
            assert [each["first"] for each in pair].count(True) == 1
    # A sweep that goes on has the pairs that it had.
    again = swept(plan.model_copy(update={"methods": METHODS[2:0:-1]}), tmp_path / "other").rows
    found = {(row["method"], row["image"]): row for row in without_times(again)}
    before = {(row["method"], row["image"]): row for row in without_times(rows)}
    assert len(found) == 4
    for key, row in found.items():
        assert row["details"] == before[key]["details"] and row["psnr"] == before[key]["psnr"]


def test_a_lone_image_has_no_partner(tmp_path):
    make_photographs(tmp_path / "photos", 1, (64, 96))
    plan = experiment(tmp_path / "photos", methods=["noma", JPEG], cbr=["1/96"])
    refused = swept(plan, tmp_path / "out").refused
    assert any("give at least two" in reason for reason in refused) and sum(refused.values()) == 2


def test_an_image_beside_one_that_cannot_be_sent_is_refused(photographs, tmp_path):
    make_photographs(tmp_path, 2, (64, 96))
    (tmp_path / "zz.png").write_bytes(b"no image")
    plan = experiment(tmp_path, methods=[JPEG], cbr=["1/96"])
    rows = swept(plan, tmp_path / "out").rows
    assert [row["status"] for row in rows] == ["delivered", "refused", "refused"]
    assert "the image beside this one cannot be sent" in rows[1]["reason"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("noma:user=3", "use 1 or 2"),
        ("noma:share=1", "between 0 and 1"),
        ("noma:share=much", "between 0 and 1"),
        ("noma:cancel=half", "measured, plain, none, genie"),
        ("noma:scramble=2", "true or false"),
        ("noma-capacity:source=gif", "hevc"),
        ("noma:colour=2", "no option"),
    ],
)
def test_options_that_there_are_not_are_refused(spec, words):
    with pytest.raises(SettingsError, match=words):
        make_method(spec, Context())
