"""Configurations of experiments: those of the paper, overrides, and what is refused."""

from __future__ import annotations

import pytest
from sweep_world import experiment, swept

from simulator.errors import SettingsError
from simulator.evaluation.experiment import SHIPPED, find_config, make_experiment
from simulator.methods import registry

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")


def test_the_figures_of_the_paper_are_there():
    found = {path.stem: make_experiment(path) for path in SHIPPED.glob("*.toml")}
    others = {"multipath", "mimo", "noma", "codecs"}
    assert set(found) == others | {f"figure-{n}" for n in (4, 5, 6, 8, 10, 12, 14)}
    four, six, ten = found["figure-4"], found["figure-6"], found["figure-10"]
    assert make_experiment(find_config("figure-4"), {"add": ["dct"]}).methods[-2:] == [
        "hevc+capacity", "dct"
    ]  # fmt: skip
    assert four.x == "cbr" and four.snr_db == [1, 10] and four.repeats == 5
    assert [str(p.cbr) for p in four.points[::2]] == ["1/384", "1/192", "1/96", "1/48"]
    assert six.channel.kind == ["rayleigh"] and six.cbr == ["1/192", "1/48"]
    assert len(six.points) == 10 and ten.snr_db[0] == -5
    codecs = found.pop("codecs")
    assert codecs.methods == ["jscc", "hevc+ldpc"] and codecs.published[0].x[0] == 1.0
    for each in found.values():
        assert "fd_effnet" in each.metrics and "fid" in each.metrics and "jscc" in each.methods
        for spec in each.methods:  # the options of ours are known to their factories
            name, options = registry.parse_spec(spec).name, registry.parse_spec(spec).options
            if name == "diffjscc":
                assert set(options) <= set(registry.find_factory(name).__annotations__)


def test_options_narrow_and_override_a_configuration():
    path = find_config("figure-5")
    got = make_experiment(path, {"repeats": 2}, ["seed=7"], ["snr_db=1,13", "methods=diffjscc"])
    assert (got.repeats, got.seed, got.snr_db) == (2, 7, [1, 13])
    assert len(got.methods) == 4 and len(got.labels) == 4
    one = make_experiment(path, only=["methods=diffjscc:guidance_scale=50", "cbr=1/96"])
    assert one.methods == ["diffjscc:guidance_scale=50"] and one.cbr == ["1/96"]
    assert one.labels == {"diffjscc:guidance_scale=50": "DiffJSCC, λ = 50"}
    added = make_experiment(path, {"add": ["yilmaz:steps=3"]}, only=["methods=jscc"])
    assert added.methods == ["jscc", "yilmaz:steps=3"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"only": ["snr_db=2"]}, "'2' is not one of snr_db: 1.0; 4.0"),
        ({"only": ["repeats=2"]}, "write NAME=VALUE,... of channel, cbr"),
        ({"assignments": ["cbr=7"]}, "setting cbr.0"),
        ({"assignments": ["stesp=7"]}, "no setting 'stesp'"),
        ({"overrides": {"methods": ["jscc:codec"]}}, "write NAME:KEY=VALUE"),
        ({"assignments": ["repeats"]}, "write NAME=VALUE"),
        ({"assignments": ["channel.csit=delayed"]}, "channel: csit = 'delayed' needs one h"),
        ({"assignments": ["channel.csir=guessed"]}, "setting channel.csir: Input should be"),
        ({"assignments": ["channel.snr_db=1"]}, "no setting 'channel.snr_db'"),
        (
            {"overrides": {"published": [{"label": "a", "source": "b", "x": [1, 2], "y": [3]}]}},
            "a: 2 values of x and 1 of y",
        ),
        (
            {"overrides": {"published": [{"label": "a", "source": "b", "x": ["1/0"], "y": [3]}]}},
            "published.0.x.0",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence(given, sentence):
    with pytest.raises(SettingsError, match=".") as caught:
        make_experiment(find_config("figure-5"), **given)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_names_are_refused(photographs, tmp_path):
    with pytest.raises(SettingsError, match="figure-4"):
        find_config("figure-7")
    with pytest.raises(SettingsError, match="no option 'stesp'; it has codec, model"):
        swept(experiment(photographs, methods=["jscc:stesp=3"]), tmp_path / "a")
    with pytest.raises(SettingsError, match="no metric 'beauty'"):
        swept(experiment(photographs, metrics=["beauty"]), tmp_path / "b")
    with pytest.raises(SettingsError, match="no channel 'pigeon'"):
        swept(experiment(photographs, channel=["pigeon"]), tmp_path / "c")
    with pytest.raises(SettingsError, match="1 of 1 methods .*diffjscc:steps=-1"):
        swept(experiment(photographs, methods=["diffjscc:steps=-1"]), tmp_path / "d")
