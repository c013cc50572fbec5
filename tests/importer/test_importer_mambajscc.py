"""Checkpoints of MambaJSCC, two networks saved whole, against a reference of their layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from official_mambajscc import DecoderFile, EncoderFile, sent
from torch import Tensor, nn

from simulator.cli.main import app, guarded
from simulator.errors import ModelError, SettingsError
from simulator.importer.folder import import_official
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.csi import Csi
from simulator.jscc.mambajscc_official import OfficialMambaCodec

SMALL: dict[str, Any] = {
    "dims": [4, 6], "depths": [1, 2], "channels": 4, "states": 3, "scans": 2, "adaptive": "ssm",
}  # fmt: skip
BASE: dict[str, Any] = {
    "dims": [128, 192, 256, 320], "depths": [2, 2, 6, 2], "channels": 32, "states": 16,
    "scans": 2, "adaptive": "ssm",
}  # fmt: skip


def official(folder: Path, **other: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    both = EncoderFile(SMALL | other).eval(), DecoderFile(SMALL | other).eval()
    folder.mkdir(exist_ok=True)
    for network, name in zip(both, ("encoder.pt", "decoderOUTCHANS4.pt"), strict=True):
        torch.save(network, folder / name)
    return both


def imported(folder: Path, out: Path) -> OfficialMambaCodec:
    import_official(str(folder), out)
    codec = load_codec(out)
    assert isinstance(codec, OfficialMambaCodec)
    return codec


@torch.inference_mode()
@pytest.mark.parametrize(
    "other",
    [
        {},
        {"adaptive": "attn"},
        {"adaptive": "no", "channels": 3},
        {"scans": 4, "states": 1},
    ],
    ids=["ssm", "attn", "no", "four scans"],
)
def test_images_are_theirs(other: dict[str, Any], tmp_path: Path) -> None:
    """Of 2560 cells at the first stage, more than a piece of their kernel."""
    encoder, decoder = official(tmp_path / "theirs", **other)
    ours = imported(tmp_path / "theirs", tmp_path / "ours")
    p = SMALL | other
    assert ours.config["adaptation"] == p["adaptive"] and ours.config["directions"] == p["scans"]
    size, snr = (80, 128), 4.0
    image = torch.rand(1, 3, *size)
    maps = encoder.encoder(image, snr)
    noise = (
        torch.randn(1, p["channels"], size[0] // 8, size[1] // 4, dtype=torch.complex64) * 2**0.5
    )
    wanted = decoder.decoder(sent(maps, snr, noise), snr).clamp(0, 1)
    signal = ours.encode(image, Csi.of(snr))
    sigma = (1 / (2 * 10 ** (snr / 10))) ** 0.5
    received = signal.symbols + sigma * noise.transpose(1, 2).flatten(1)
    got = ours.decode(received, Csi.of(snr), size, side=signal.side)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    assert wanted.std() > 0.05 and len(signal.side) == 4
    elsewhere = ours.encode(image, Csi.of(14.0)).symbols
    assert torch.equal(elsewhere, signal.symbols) is (p["adaptive"] == "no")


def test_their_size(tmp_path: Path) -> None:
    with torch.device("meta"):
        theirs = [EncoderFile(BASE), DecoderFile(BASE)]
        ours = OfficialMambaCodec()
    count = sum(p.numel() for half in theirs for p in half.parameters())
    assert sum(p.numel() for p in ours.parameters()) == count
    assert f"{count / 1e6:.1f}" == "14.5"


@torch.inference_mode()
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(1, 1), (17, 33)])
def test_any_size_there_and_back(channels: int, size: tuple[int, int]) -> None:
    """An odd number of maps takes an even number of rows."""
    codec = OfficialMambaCodec(channels, widths=(4, 6), depths=(1, 1), states=2).eval()
    image, csi = torch.rand(2, 3, *size), Csi.of(7.0, 0.5 + 0.5j, batch=2)
    signal = codec.encode(image, csi)
    assert signal.symbols.shape[1] == codec.k(codec.bandwidth_ratio, size)
    for side in (signal.side, b""):  # a receiver warms up without
        made = codec.decode(signal.symbols, csi, size, side=side)
        assert made.shape == image.shape and bool(made.isfinite().all())
    with pytest.raises(SettingsError, match="symbols do not fit"):
        codec.decode(signal.symbols[:, 1:], csi, size)
    with pytest.raises(SettingsError, match="side information"):
        codec.decode(signal.symbols, csi, size, side=signal.side + b"1")


def of(part: str, change: Callable[[Any], Any]) -> Callable[[list[nn.Module]], None]:
    """``change`` of a part of one of both networks."""

    def edit(both: list[nn.Module]) -> None:
        half = both[part.startswith("decoder")]
        where, _, name = part.rpartition(".")
        owner = half.get_submodule(where) if where else half
        value = change(getattr(owner, name))
        setattr(owner, name, value)

    return edit


def weights(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Parameter], nn.Parameter]:
    return lambda given: nn.Parameter(change(given.detach()))


OP = "encoder.layers.0.blocks.0.op"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (of("encoder.channel_adaptive", lambda _: "CA"), "the encoder knows the SNR by 'CA'"),
        (of("encoder.channel_adaptive", lambda _: "no"), "do not know the SNR in the same way"),
        (of(f"{OP}.act", lambda _: nn.SiLU()), "SiLU; their configurations have GELU"),
        (of(f"{OP}.A_logs", weights(lambda t: t[1:])), "has 15 rows, not 2 times 8"),
        (of(f"{OP}.Ds", weights(lambda t: t[None])), r"Ds has the shape \(1, 16\)"),
        (of(f"{OP}.x_proj_weight", weights(lambda t: t[0])), "x_proj_weight has the shape"),
        (
            of(f"{OP}.in_proj", lambda _: nn.Linear(4, 8)),
            "in_proj.*has the shape|has .*in_proj.bias",
        ),
        (of("encoder.head.weight", weights(lambda t: t / 0)), "not finite"),
        (
            of("encoder.head.weight", weights(lambda t: t[:1].clone().expand(4, 6, 1, 1))),
            "larger than what",
        ),
        (of("decoder.layers", lambda t: t[:1]), "the stages of the decoder are not those"),
        (of("encoder.patch_embed", lambda t: t[2:]), "neither encoder nor decoder"),
    ],
)
def test_another_layout_is_refused(edit: Any, words: str, tmp_path: Path) -> None:
    both = list(official(tmp_path))
    edit(both)
    for network, name in zip(both, ("encoder.pt", "decoderOUTCHANS4.pt"), strict=True):
        torch.save(network, tmp_path / name)
    with pytest.raises(ModelError, match=words) as caught:
        import_official(str(tmp_path), tmp_path / "codec")
    assert str(caught.value).count(". ") == 0 and not (tmp_path / "codec").exists()


def test_a_folder_has_one_of_each(tmp_path: Path) -> None:
    official(tmp_path)
    (tmp_path / "other.pt").write_bytes((tmp_path / "encoder.pt").read_bytes())
    with pytest.raises(ModelError, match="is another encoder"):
        import_official(str(tmp_path), tmp_path / "codec")
    for name in ("other.pt", "decoderOUTCHANS4.pt"):
        (tmp_path / name).unlink()
    with pytest.raises(ModelError, match="lacks the decoder"):
        import_official(str(tmp_path), tmp_path / "codec")
    with pytest.raises(ModelError, match="give the folder with both"):
        import_official(str(tmp_path / "encoder.pt"), tmp_path / "codec")
    torch.save({"a": torch.ones(1)}, tmp_path / "encoder.pt")
    with pytest.raises(ModelError, match="no network that was saved whole"):
        import_official(str(tmp_path), tmp_path / "codec")


class Runs(nn.Module):
    """What unpickling would run."""

    def __reduce__(self) -> Any:
        return exec, ("raise AssertionError('it was run')",)


def test_nothing_in_a_file_is_run_and_a_part_may_hold_itself(tmp_path: Path) -> None:
    encoder, _ = official(tmp_path)
    encoder.runs = [Runs()]
    encoder.encoder.layers[0].add_module("again", encoder.encoder)
    torch.save(encoder, tmp_path / "encoder.pt")
    assert imported(tmp_path, tmp_path / "codec").config["widths"] == SMALL["dims"]


def test_the_command_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official(tmp_path / "theirs")
    words = ["import-official", str(tmp_path / "theirs"), str(tmp_path / "codec")]
    assert guarded(lambda: app(words, standalone_mode=False)) == 0
    told = capsys.readouterr()
    assert "MambaJSCC with CSI-ReST" in told.err
    assert told.out == f"codec folder: {tmp_path / 'codec'}\n"
