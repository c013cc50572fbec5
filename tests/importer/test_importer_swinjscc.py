"""Checkpoints of WITT and SwinJSCC, in all variants, against a reference of their layout."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import make_photographs
from link_world import linked_torch
from official_swinjscc import OfficialSwinJscc, network_sort
from torch import Tensor

from simulator.cli.main import app, guarded
from simulator.errors import ModelError, SettingsError
from simulator.importer.folder import import_official
from simulator.jscc.bitonic import bitonic_order
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.csi import Csi
from simulator.jscc.subset import read_subset, subset_bytes, write_subset
from simulator.jscc.swinjscc_official import OfficialSwinJsccCodec

# Their networks, in small: sides are whole windows at every stage of a 64 x 32 image.
SMALL: dict[str, Any] = {
    "dims": [8, 12, 40], "depths": [1, 2, 2], "depths_d": [2, 3, 1], "heads": [2, 3, 4],
    "window": 4,
}  # fmt: skip
BASE: dict[str, Any] = {
    "dims": [128, 192, 256, 320], "depths": [2, 2, 6, 2], "depths_d": [2, 6, 2, 2],
    "heads": [4, 6, 8, 10], "window": 8,
}  # fmt: skip
VARIANTS = ("w/o", "SA", "RA", "SA&RA")


def official(variant: str, channels: int | None = None, older: bool = False) -> OfficialSwinJscc:
    torch.manual_seed(3)
    if variant in ("w/o", "SA"):
        channels = channels or 6
    return OfficialSwinJscc(SMALL, variant, channels, older).trained()


def imported(path: Path, network: torch.nn.Module) -> OfficialSwinJsccCodec:
    torch.save(network.state_dict(), path / "net.model")
    import_official(str(path / "net.model"), path / "codec")
    codec = load_codec(path / "codec")
    assert isinstance(codec, OfficialSwinJsccCodec)
    return codec


def both(
    theirs: OfficialSwinJscc, ours: OfficialSwinJsccCodec, size: tuple[int, int], rate: int
) -> tuple[Tensor, Tensor, bytes]:
    """The image at both, with the same noise, and the side information of ours."""
    image, snr = torch.rand(1, 3, *size), 4.0
    cells = size[0] // 8, size[1] // 8
    x, mask = theirs.sent(image, snr, rate)
    noise = torch.randn_like(x)
    wanted = theirs.image(theirs.received(x, mask, snr, noise), snr, cells)
    ratio = Fraction(rate, 3 * 2**7)
    signal = ours.encode(image, Csi.of(snr), ratio)
    real, imaginary = noise[:, mask > 0].flatten().chunk(2)
    sigma = (1 / (2 * 10 ** (snr / 10))) ** 0.5
    received = signal.symbols + sigma * torch.complex(real, imaginary)
    return ours.decode(received, Csi.of(snr), size, side=signal.side), wanted, signal.side


@torch.inference_mode()
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("older", [False, True])
def test_images_are_theirs(variant: str, older: bool, tmp_path: Path) -> None:
    """``older``: with the unused parts that an earlier version of their code makes."""
    theirs = official(variant, 6 if older else None, older)
    ours = imported(tmp_path, theirs)
    rated = "RA" in variant
    assert ours.config["channels"] == ([32] if rated else [6])
    got, wanted, side = both(theirs, ours, (64, 32), 32 if rated else 6)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    assert wanted.std() > 0.05
    assert len(side) == 4 + (subset_bytes(32, 40) if rated else 0)
    assert ours.config["snr"] is ("SA" in variant) and ours.config["rate"] is rated


def test_the_authors_own_start_is_no_training(tmp_path: Path) -> None:
    """WITT starts its encoder's ModNet with normal weights and biases of 0."""
    theirs = official("w/o")
    for name, tensor in theirs.named_parameters():
        if name.startswith(("encoder.sm_list.", "encoder.bm_list.")):
            tensor.data = 3 * torch.randn_like(tensor) if tensor.dim() > 1 else 0 * tensor
    assert imported(tmp_path, theirs).config["snr"] is False


@torch.inference_mode()
def test_a_map_of_one_window_is_shifted_as_theirs(tmp_path: Path) -> None:
    theirs = official("SA")
    got, wanted, _ = both(theirs, imported(tmp_path, theirs), (32, 32), 6)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_equal_gates_are_told_apart_as_their_torch_did(tmp_path: Path) -> None:
    """Training drives gates to 1. Which of the equal ones are sent decides over decibels."""
    theirs = official("SA&RA")
    last = theirs.encoder.sm_list[-1]
    last.weight.data.zero_()
    last.bias.data = torch.where(torch.arange(40) % 10 == 3, -3.0, 40.0)
    ours = imported(tmp_path, theirs)
    got, wanted, side = both(theirs, ours, (64, 32), 32)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    sent = read_subset(side[4:], 32, 40)
    equal = [n for n in range(40) if n % 10 != 3]
    assert set(sent) < set(equal) and sent != equal[:32]


def test_the_order_is_that_of_a_gpu() -> None:
    """Of five numbers torch 1.3 gave this order on a GPU (pytorch issue 28871), rising."""
    assert bitonic_order(-torch.tensor([[1.0, 2, 5, 4, 5]])).tolist() == [[0, 1, 3, 4, 2]]
    generator = torch.Generator().manual_seed(0)
    for count, threads in ((7, 32), (32, 32), (100, 128), (320, 1024)):
        keys = torch.randint(0, 4, (2, count), generator=generator).float()
        order = bitonic_order(keys)
        assert order.tolist() == [network_sort(row.tolist(), threads) for row in keys]
        assert torch.equal(keys.gather(1, order), keys.sort(dim=1, descending=True).values)


def test_a_choice_of_maps_takes_as_many_bytes_as_there_are_choices() -> None:
    assert [subset_bytes(c, 320) for c in (32, 64, 96, 128, 192, 320)] == [19, 29, 35, 39, 39, 0]
    for chosen, of in (([0, 1, 2], 9), ([6, 7, 8], 9), ([], 4), ([0, 5, 317, 319], 320)):
        coded = write_subset(chosen, of)
        assert read_subset(coded, len(chosen), of) == chosen
    assert len({write_subset([a, b], 5) for b in range(5) for a in range(b)}) == 10


@pytest.mark.parametrize(
    ("variant", "channels", "millions"),
    [("SA", 96, "28.2"), ("SA&RA", 192, "33.2"), ("SA&RA", None, "33.1")],
)
def test_their_sizes(variant: str, channels: int | None, millions: str) -> None:
    """WITT has 28.2 million parameters, SwinJSCC 33.2, with the linear layers that it does not use
    beside its Rate ModNet."""
    from simulator.importer.swinjscc import table_of

    with torch.device("meta"):
        theirs = OfficialSwinJscc(BASE, variant, channels)
        ours = (
            OfficialSwinJsccCodec() if channels != 96 else OfficialSwinJsccCodec([96], True, False)
        )
    count = sum(p.numel() for p in theirs.parameters())
    assert f"{count / 1e6:.1f}" == millions
    unused = sum(p.numel() for n, p in theirs.named_parameters() if ".head_list" in n)
    used = count - (unused if variant == "SA&RA" else 0)
    assert sum(p.numel() for p in ours.parameters()) == used
    assert table_of(ours.config)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (40, 100)])
@pytest.mark.parametrize("rate", [False, True])
def test_any_size_there_and_back(size: tuple[int, int], rate: bool) -> None:
    codec = OfficialSwinJsccCodec([32], True, rate, *[(8, 40), (1, 2), (2, 2)],
                                  *[(40, 8), (1, 2), (2, 2)], window=4)  # fmt: skip
    image, csi = torch.rand(2, 3, *size), Csi.of(7.0, 0.5 + 0.5j, batch=2)
    signal = codec.encode(image, csi)
    assert signal.symbols.shape[1] == codec.k(codec.bandwidth_ratio, size)
    power = signal.symbols.abs().square().mean(dim=1)
    torch.testing.assert_close(power, torch.ones(2), rtol=1e-4, atol=1e-4)
    for side in (signal.side, b""):  # a receiver warms up without
        made = codec.decode(signal.symbols, csi, size, side=side)
        assert made.shape == image.shape and bool(made.isfinite().all())


@cache
def state(variant: str) -> dict[str, Tensor]:
    """To be copied, not changed."""
    return dict(official(variant).state_dict())


def without(part: str) -> Any:
    return lambda s: {n: t for n, t in s.items() if part not in n}


def changed(name: str, value: Any) -> Any:
    return lambda s: s | {name: value(s[name]) if callable(value) else value}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (without("encoder."), "the names of its tensors are others"),
        (without("decoder.layers.2"), "as many stages"),
        (without("layers.1.blocks.0.mlp.fc1"), r"lacks encoder.layers.1.blocks.0.mlp.fc1"),
        (without("decoder.layers.1.blocks.1.attn"), "lacks decoder.layers.1.blocks.1.attn"),
        (without("decoder.sm_list"), "encoder.sm_list, encoder.sm_list1 was trained"),
        (changed("encoder.layers.3.x", torch.ones(1)), "encoder.layers.3.blocks.0.norm1"),
        (lambda s: s | {f"encoder.layers.{n}.x": torch.ones(1) for n in range(3, 20)}, "20 stages"),
        (changed("encoder.sm_list.0.bias", torch.ones(0)), "sm_list.0.bias has the shape"),
        (changed("encoder.other", torch.ones(1)), "has encoder.other, which"),
        (changed("encoder.norm.weight", torch.ones(9)), r"norm.weight has the shape \(9,\)"),
        (changed("encoder.norm.weight", torch.ones(40).long()), "whole numbers"),
        (changed("encoder.norm.weight", torch.ones(40) / 0), "not finite"),
        (changed("encoder.norm.weight", torch.ones(1).expand(40)), "larger than what the file"),
        (changed("encoder.layers.0.blocks.0.attn.relative_position_bias_table",
                 torch.ones(48, 2)), "48 rows"),
        (changed("encoder.layers.0.blocks.0.attn.relative_position_bias_table",
                 torch.ones(25, 2)), "windows of 3, 4"),
        (changed("encoder.layers.0.blocks.0.attn.relative_position_bias_table",
                 torch.ones(49, 3)), "multiples of its heads"),
    ],
)  # fmt: skip
def test_another_layout_is_refused(edit: Any, words: str, tmp_path: Path) -> None:
    torch.save(edit(state("SA&RA")), tmp_path / "net.model")
    with pytest.raises(ModelError, match=words) as caught:
        import_official(str(tmp_path / "net.model"), tmp_path / "codec")
    assert str(caught.value).count(". ") == 0 and not (tmp_path / "codec").exists()


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    torch.save(state("SA"), tmp_path / "net.model")
    (tmp_path / "net.model").write_bytes((tmp_path / "net.model").read_bytes()[:-9000])
    with pytest.raises(ModelError, match="damaged"):
        import_official(str(tmp_path / "net.model"), tmp_path / "codec")


@pytest.mark.parametrize("side", [b"1", b"\x00" * 9, b"\x00\x00\xc0\x7f" + b"\x00" * 4,
                                  b"\x00\x00\x80\x3f" + b"\xff" * 4])  # fmt: skip
def test_damaged_side_information_is_refused(side: bytes) -> None:
    codec = OfficialSwinJsccCodec([32], True, True, *[(8, 40), (1, 1), (2, 2)],
                                  *[(40, 8), (1, 1), (2, 2)], window=4)  # fmt: skip
    symbols = torch.ones(1, 16 * 16, dtype=torch.complex64)
    assert len(codec.encode(torch.rand(1, 3, 16, 16), Csi.of(1.0)).side) == 8
    with pytest.raises(SettingsError, match="side information"):
        codec.decode(symbols, Csi.of(1.0), (16, 16), side=side)


def test_it_runs_in_the_link_and_is_charged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Imported by the command; through tx, channel and rx, where mask and power are counted."""
    theirs = official("SA&RA")
    path = tmp_path / "net.model"
    torch.save(theirs.state_dict(), path)
    words = ["import-official", str(path), str(tmp_path / "codec")]
    assert guarded(lambda: app(words, standalone_mode=False)) == 0
    assert "SwinJSCC with SA and RA" in capsys.readouterr().err
    make_photographs(tmp_path / "photos", 1)
    given = {"tx.bandwidth_ratio": "1/12"}
    rows = linked_torch(tmp_path / "photos", tmp_path / "codec", tmp_path / "run", **given)
    assert [row["status"] for row in rows] == ["delivered"]
    codec = load_codec(tmp_path / "codec")
    for row in rows:
        assert row["k"] == codec.k(Fraction(1, 12), (row["height"], row["width"]))
        assert row["side_uses"] > 0


@torch.inference_mode()
def test_a_batch_has_the_side_information_of_each_image(tmp_path: Path) -> None:
    codec = imported(tmp_path, official("SA&RA"))
    images = torch.rand(2, 3, 50, 30)
    signal = codec.encode(images, Csi.of(5.0, batch=2))
    got = codec.decode(signal.symbols, Csi.of(5.0, batch=2), (50, 30), side=signal.side)
    for n in range(2):
        one = codec.encode(images[n : n + 1], Csi.of(5.0))
        made = codec.decode(one.symbols, Csi.of(5.0), (50, 30), side=one.side)
        torch.testing.assert_close(got[n], made[0], rtol=1e-3, atol=1e-4)
