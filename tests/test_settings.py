"""Settings: files, assignments and overrides; what is wrong is said in one sentence."""

import math
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.air import AirSettings, check_kind
from simulator.errors import SettingsError
from simulator.evaluation.experiment import Experiment
from simulator.phy.laws import LAWS
from simulator.phy.profile import TDL, Name
from simulator.settings import ChannelSettings, Settings, make_settings, settings_hash
from simulator.toml import literal, to_toml

TWO = ["cam1", "cam2"]


def refused(**given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        make_settings(**given)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


def test_defaults_are_valid_and_immutable() -> None:
    settings = make_settings()
    assert settings == Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3  # type: ignore[misc]


def test_file_then_overrides_then_assignments(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        "seed = 1\nname = 'größer'\n[tx]\nwindow = 2\nrepeats = 2\n[rx]\nslots = 2\n"
        "[provenance]\nversions = 3\n",
        encoding="utf-8",
    )
    settings = make_settings(
        config, ["rx.slots=4", " tx.repeats = 4 "], {"tx.repeats": 3, "tx.window": 3}
    )
    assert (settings.seed, settings.name) == (1, "größer")
    assert (settings.tx.window, settings.tx.repeats, settings.rx.slots) == (3, 4, 4)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("0.5", 0.5),
        ("true", True),
        ('"4"', "4"),
        ("[1, 2]", [1, 2]),
        ("awgn", "awgn"),
        ("1/384", "1/384"),
        ("", ""),
        ("a=b", "a=b"),
        ("2026-01-02", "2026-01-02"),
        ("12:30:00", "12:30:00"),
        ("tcp://127.0.0.1:5550", "tcp://127.0.0.1:5550"),
        ("runs/a b#c", "runs/a b#c"),
    ],
)
def test_assigned_values_are_toml_or_text(text: str, value: Any) -> None:
    assert literal(text) == value and type(literal(text)) is type(value)


def test_settings_that_sweep_take_one_value_or_a_list() -> None:
    settings = make_settings(
        assignments=[
            "channel.snr_db=3",
            "channel.kind=rayleigh",
            "tx.bandwidth_ratio=[0.0026, '1/48']",
        ]
    )
    assert settings.channel.snr_db == [3.0]
    assert settings.channel.kind == ["rayleigh"]
    assert settings.tx.bandwidth_ratio == ["1/384", "1/48"]


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("nonsense", "write NAME=VALUE"),
        ("rx.slot=4", "no setting 'rx.slot'"),
        ("nowhere.slots=4", "no setting 'nowhere'"),
        ("=4", "no setting"),
        ("seed.x.y=4", "setting seed"),
        ("rx=4", "setting rx"),
        ("rx.slots=0", "rx.slots"),
        ("rx.slots=many", "given: 'many'"),
        ("rx.name=", "rx.name"),
        ("rx.name=../other", "rx.name"),
        ("tx.name=a/b", "tx.name"),
        ("channel.kind=laplace", "no channel 'laplace'; there are awgn, rayleigh"),
        ("channel.kind=[]", "at least 1 item"),
        ("channel.snr_db=[]", "at least 1 item"),
        ("tx.bandwidth_ratio=[]", "at least 1 item"),
        ("channel.snr_db=[1, 61]", "channel.snr_db.1"),
        ("channel.snr_db=nan", "finite"),
        ("channel.symbol_rate_hz=inf", "finite"),
        ("channel.guard_s=inf", "finite"),
        ("channel.symbol_rate_hz=0", "symbol_rate_hz"),
        (
            "tx.bandwidth_ratio=fast",
            "'fast' is not a bandwidth ratio; write a fraction such as 1/384 (given",
        ),
        ("channel.csit=delayed", "block_correlation above 0"),
        ("rx.refine=maybe", "rx.refine"),
        ("rx.conditions=[text]", "rx.conditions"),
        ("rx.guidance=strong", "rx.guidance"),
        ("rx.guidance_scale=-1", "rx.guidance_scale"),
        ("rx.dtype=int8", "rx.dtype"),
        ("rx.steps=-1", "rx.steps"),
    ],
)
def test_wrong_names_and_values(assignment: str, words: str) -> None:
    assert words in refused(assignments=[assignment])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"channel.coherence_time": 10, "channel.kind": "rayleigh"}, "csit = 'average'"),
        (
            {"channel.coherence_time": 16, "channel.csit": "average", "channel.csir": "estimated"},
            "more symbols than pilots",
        ),
        (
            {
                "channel.csit": "delayed",
                "channel.coherence_time": 9,
                "channel.block_correlation": 0.5,
            },
            "coherence_time = 0",
        ),
        (
            {"channel.kind": "mimo", "channel.coherence_time": 9, "channel.csit": "average"},
            "under mimo h keeps for an image",
        ),
        (
            {"channel.mimo.scheme": "svd", "channel.csit": "average"},
            "take csit = 'perfect' or 'delayed'",
        ),
        ({"channel.kind": "mimo", "channel.impairments": ["cfo:hz=9"]}, "none under mimo"),
        ({"channel.mimo.scheme": "mrc"}, "scheme mrc has 1 transmit antenna, not 2"),
        ({"channel.mimo.receive": 9}, "channel.mimo.receive: Input should be less than or equal"),
        ({"channel.superposed": ["a", "a"]}, "two transmitters, which differ"),
        ({"channel.superposed": TWO, "channel.kind": "mimo"}, "awgn, rayleigh or rician"),
        ({"channel.superposed": TWO, "channel.snr_trace": "t.csv"}, "one SNR"),
        ({"channel.superposed": TWO, "channel.csir": "estimated"}, "csir = 'estimated'"),
        ({"channel.superposed": TWO, "channel.packets.size": 9}, "channel.packets"),
        ({"channel.superposed": TWO, "channel.queue_frames": 1}, "in twos"),
        ({"channel.share": 1}, "channel.share"),
    ],
)
def test_settings_that_exclude_each_other(overrides: dict[str, Any], words: str) -> None:
    assert words in refused(overrides=overrides)


def test_the_codec_is_the_models_unless_another_is_named() -> None:
    def codec(**given: Any) -> str:
        return make_settings(overrides=given).codec

    assert codec() == "compact"
    assert codec(model="models/mine") == codec(model="models/mine", codec="") == "models/mine"
    assert codec(model="models/mine", codec="codecs/other") == "codecs/other"


def test_a_codec_that_carries_no_image_leaves_nothing_to_refine() -> None:
    assert make_settings().rx.refine
    assert not make_settings(overrides={"codec": "null"}).rx.refine
    sentence = refused(overrides={"codec": "null", "rx.refine": True})
    assert "no image" in sentence and "--refine off" in sentence and "{" not in sentence


def test_the_receivers_hash_names_what_changes_its_images() -> None:
    def name(model: str = "m", preview: str = "", **given: Any) -> str:
        overrides = {f"rx.{key}": value for key, value in given.items()}
        fields = make_settings(overrides=overrides).rx_hash_fields("codec", model, preview)
        return settings_hash(fields)

    base = name()
    assert base == name(slots=3, threads=1, batch=2, save_images=False, lpips=False, device="cpu")
    assert base == name(conditions=["caption", "h", "snr", "spatial"])
    others = [
        name("other"), name(preview="p"), name(refine=False), name(steps=7), name(solver="ddim"),
        name(tile=256),
        name(guidance_scale=0), name(guidance_scale=1), name(guidance="paper"),
        name(guidance_repeat=5), name(color_fix="wavelet"), name(captioner="none"),
        name(fidelity=0.5),
        name(dtype="float16"), name(conditions=[]), name(conditions=["spatial"]),
        name(equalizer="mmse"),
    ]  # fmt: skip
    assert len({base, *others}) == len(others) + 1
    off = [name(refine=False), name(refine=False, steps=7), name("other", refine=False)]
    assert len(set(off)) == 1  # what is not used changes nothing


def test_a_section_is_not_a_value() -> None:
    assert "is not a section" in refused(assignments=["tx=3", "tx.window=4"])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refused(config=tmp_path / "none.toml")
    assert "Is a directory" in refused(config=tmp_path)
    for data in (b"seed = \n", b"name = '\xff'", b"[tx\n"):
        (tmp_path / "bad.toml").write_bytes(data)
        assert "is not valid TOML" in refused(config=tmp_path / "bad.toml")


def test_resolved_settings_can_be_given_again(tmp_path: Path) -> None:
    settings = make_settings(
        overrides={
            "name": 'a "quoted"\\ \x7f\tname \U0001f600',
            "tx.images": ["größe.png", "\U0001f600\n.png"],
            "channel.snr_db": [1, -2.5],
            "channel.symbol_rate_hz": 1e16,
            "channel.draws": 2,
            "rx.save_images": False,
        }
    )
    tree = settings.model_dump() | {
        "provenance": {"weights/x.safetensors": "ab", "a b": {"c.d": 1}}
    }
    path = tmp_path / "run.toml"
    path.write_text(to_toml(tree), encoding="utf-8")
    assert make_settings(path) == settings
    assert tomllib.loads(to_toml(tree))["provenance"] == tree["provenance"]


def test_a_file_of_a_run_that_names_no_draws_means_the_first(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    for text, draws in [
        ("seed = 3\n", None),
        ("seed = 3\n[provenance]\nmachine = 'm'\n", 1),
        ("[channel]\nsnr_db = 3\n[provenance]\n", 1),
        ("[channel]\ndraws = 2\n[provenance]\n", 2),
    ]:
        path.write_text(text)
        assert make_settings(path).channel.draws == draws
    assert make_settings(path, ["channel.draws=1"]).channel.draws == 1
    assert "channel.draws: Input should be 1 or 2" in refused(assignments=["channel.draws=3"])


plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
inline = st.dictionaries(
    plain, st.one_of(plain, numbers, st.lists(numbers, max_size=2)), max_size=2
)
leaf = st.one_of(
    *(plain, numbers, st.booleans(), st.lists(plain, max_size=3), st.lists(inline, max_size=2))
)


@given(st.dictionaries(plain, leaf | st.dictionaries(plain, leaf, max_size=3), max_size=4))
def test_to_toml_round_trip(tree: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(tree)) == tree


def test_none_is_left_out() -> None:
    assert to_toml({"a": None, "b": 1}) == "b = 1\n"


def test_the_hash_names_what_changes_results_and_nothing_else() -> None:
    def name(**fields: Any) -> str:
        return settings_hash(ChannelSettings.model_validate(fields).result_changing())

    base = name()
    assert base == name(symbol_rate_hz=1.0, airtime="sleep", queue_frames=3, front="tcp://a:1")
    assert base == name(snr_db=[3.0], kind=["rayleigh"])  # they are in the operating point
    others = [name(csit="average"), name(csir="estimated"), name(rician_k_db=3.0),
              name(assumed_snr_db=1.0), name(coherence_time=20), name(draws=1)]  # fmt: skip
    assert len({base, *others}) == 7
    assert base == name(draws=2)
    assert len(base) == 16 and not math.isnan(int(base, 16))


def test_results_of_before_a_setting_are_still_the_same() -> None:
    """Settings of the air that were added later change nothing where they have their old value."""
    then = {
        "snr_trace", "assumed_snr_db", "coherence_time", "rician_k_db", "csit", "csit_delay_blocks",
        "block_correlation", "csir", "pilots",
    }  # fmt: skip
    assert AirSettings(draws=1).result_changing().keys() == then
    decides = Experiment(channel=AirSettings(draws=1)).decides()
    held = {name.removeprefix("channel.") for name in decides if name.startswith("channel.")}
    assert held == (then | {"kind"}) - {"assumed_snr_db"}  # TOML has no None
    multipath = AirSettings(draws=1, multipath={"taps": 3}, symbol_rate_hz=2e6).result_changing()
    assert (multipath["multipath.taps"], multipath["symbol_rate_hz"]) == (3, 2e6)
    assert "multipath.comb" not in multipath and "multipath.within_symbol" not in multipath
    combs = AirSettings(draws=1, multipath={"comb": 4}).result_changing()
    assert combs["multipath.comb"] == 4
    mimo = AirSettings(draws=1, mimo={"receive": 3}).result_changing()
    assert (mimo["mimo.receive"], mimo["mimo.scheme"]) == (3, "alamouti")
    for name, value in {"draws": 2, "side": "free", "feedback_snr_db": 3.0}.items():
        air = AirSettings(**({"draws": 1} | {name: value}))
        assert air.result_changing()[name] == value
        assert Experiment(channel=air).decides()[f"channel.{name}"] == value


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"coherence_time": 5}, "multipath change with multipath.doppler_hz"),
        ({"multipath": {"taps": 30}}, "29.0 samples late, which a cyclic_prefix of 16"),
        ({"multipath": {"doppler_hz": 100}}, "doppler_hz needs csit = 'average'"),
        (
            {"multipath": {"doppler_hz": 1e4}, "csit": "average"},
            "turn by 0.8 of a period during one OFDM symbol; at most 0.05 is computed, or 0.5",
        ),
        (
            {"multipath": {"doppler_hz": 1e4, "within_symbol": True}, "csit": "average"},
            "one OFDM symbol; at most 0.5 is computed",
        ),
        (
            {"multipath": {"comb": 1}},
            "a comb is of every 2 to 64 subcarriers, not 1; 0 takes whole",
        ),
        ({"multipath": {"comb": 65}}, "64 subcarriers, not 65"),
        (
            {"multipath": {"power": "least-error"}, "csit": "average"},
            "power least-error is for ends that both know the gains and the SNR",
        ),
    ],
)
def test_what_multipath_does_not_compute_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match="multipath|prefix|average|period|comb|power") as error:
        AirSettings.model_validate({"kind": ["multipath"], **fields})
    assert reason in str(error.value)
    # A channel that is started alone is asked for kinds that its own settings do not name.
    if "multipath" in fields:
        with pytest.raises(ValueError, match="prefix|average|period|comb|power"):
            AirSettings.model_validate({"kind": ["rayleigh"], **fields})


def test_one_impairment_is_a_text() -> None:
    assert AirSettings(impairments="clip:ratio=2").impairments == ["clip:ratio=2"]


def test_kinds_of_the_settings_are_those_of_the_laws() -> None:
    for kind in LAWS:
        check_kind(kind, "delayed")
    assert set(get_args(Name)) == {"exponential", *TDL}
