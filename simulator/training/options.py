"""The options of every training: default, meaning and name, each said once.

``diffjscc train`` makes its command line of them, ``checks.py`` its messages, and the card of a
model its command. They are saved with the weights. Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

T = TypeVar("T")
FIELDS = "__dataclass_fields__"
Channel = Literal["awgn", "rayleigh", "both"]
CodecChannel = Literal["awgn", "rayleigh", "both", "multipath", "mimo"]
Precision = Literal["no", "bf16", "fp16"]
Times = Literal["uniform", "logit-normal"]
Unfreeze = Literal["none", "decoder"]
X4PLUS = "x4plus"  # the super-resolution network that a restoration may start from


def option(
    default: T, meaning: str, name: str = "", required: bool = False, remade: bool = True
) -> T:
    """A field of an options dataclass.

    ``name``: on the command line, where it is not the field's own; ``--on/--off`` for one that is
    true by default. ``required``: the command line has no default. ``remade``: weights depend on
    it, so that the command that makes them again has it.
    """
    said = {"meaning": meaning, "name": name, "required": required, "remade": remade}
    return field(default=default, metadata=said)


def said_of(kind: type, name: str) -> Mapping[str, Any]:
    """What the field says of itself; a class that changes its default alone says no more."""
    for each in kind.__mro__:
        found = getattr(each, FIELDS, {}).get(name)
        if found is not None and found.metadata:
            said: Mapping[str, Any] = found.metadata
            return said
    raise TypeError(f"{kind.__name__}.{name} has no meaning: declare it by option().")


def names_of(kind: type, name: str) -> tuple[str, str]:
    """``--name`` of a field on the command line, and its opposite or nothing."""
    given = said_of(kind, name)["name"] or "--" + name.replace("_", "-")
    on, _, off = given.partition("/")
    return on, off


def ordered(kind: type) -> list[str]:
    """Names of the fields as help shows them: required ones, a class's own, what it inherits."""

    def place(name: str) -> tuple[bool, int]:
        said = said_of(kind, name)
        holders = [each for each in kind.__mro__ if name in getattr(each, FIELDS, ())]
        return not said["required"], kind.__mro__.index(holders[-1])

    return sorted((each.name for each in fields(kind)), key=place)


@dataclass(frozen=True)
class CommonOptions:
    """What one training and a whole recipe of them share."""

    data: tuple[str, ...] = option((), "Folder of photographs; may be repeated.", required=True)
    validation: tuple[str, ...] = option(
        (), "Image or folder that is kept out of training; may be repeated."
    )
    seed: int = option(0, "Seed of every random draw.")
    device: str = option("auto", "auto, cpu, cuda or mps.")
    precision: Precision = option("no", "Mixed precision.")
    threads: int = option(0, "CPU threads; 0: torch decides.", remade=False)


@dataclass(frozen=True)
class LoopOptions(CommonOptions):
    """What every training has."""

    plugins: tuple[str, ...] = option(
        (), "Python file that adds codecs; may be repeated.", "--plugin"
    )
    steps: int = option(0, "Adam steps, over which the schedule spans; or give --minutes.")
    minutes: float = option(
        0.0, "Time to train for: as many steps as fit into it; or give --steps.", remade=False
    )
    batch: int = option(8, "Crops in a batch of each process.")
    accumulate: int = option(1, "Batches in a step.")
    crop: int = option(256, "Side of a crop in pixels.")
    learning_rate: float = option(1e-4, "Peak of the learning rate.")
    warmup: int = option(100, "Steps over which the learning rate rises.")
    decay: Literal["cosine", "none"] = option("cosine", "How the learning rate falls.")
    clip_norm: float = option(1.0, "Norm that gradients are clipped to; 0: no clipping.")
    weight_decay: float = option(0.0, "Weight decay of AdamW.")
    ema: float = option(0.999, "Decay of the moving average of the weights; 0: no average.")
    checkpoint_minutes: float = option(5.0, "Minutes between checkpoints.", remade=False)
    validate_minutes: float = option(
        15.0, "Minutes between validations, each with a picture.", remade=False
    )


@dataclass(frozen=True)
class CodecTraining(LoopOptions):
    """The paper: Adam 1e-3 with a cosine over 100,000 steps, batches of 32 crops of 256 px."""

    codec: str = option("adaptive", "Which codec; docs/systems.md has the list.")
    config: tuple[str, ...] = option(
        (), "NAME=VALUE of the codec's own configuration, such as width=64; may be repeated."
    )
    init: str = option("", "Codec folder to start from.")
    bandwidth_ratio: str = option(
        "", "The bandwidth ratio of a codec that has but one; empty: its own default.", "--cbr"
    )
    ratios: tuple[str, ...] = option(
        (),
        "Bandwidth ratio to train; may be repeated, and one that is given twice is drawn twice as "
        "often; empty: all of the codec.",
        "--ratio",
    )
    channel: CodecChannel = option(
        "both",
        "Channel that the codec is trained for; multipath: OFDM, with gains that pilots "
        "estimate; mimo: two streams at once.",
    )
    snr_db: tuple[float, float] = option((-5.0, 20.0), "Range of the SNR in dB.", "--snr-range")
    clip: float = option(
        0.0,
        "Largest amplitude that the antenna sends, over the root mean square (clipping ratio); "
        "0: any. Over multipath it is of OFDM samples.",
    )
    scramble: bool = option(
        False, "With --clip over multipath: as channel.multipath.scramble of the link has it."
    )
    batch: int = 8
    crop: int = 192
    learning_rate: float = option(1e-3, "Peak of the learning rate; the authors of swin: 1e-4.")
    drawn: float = option(0.06, "Part of the crops that are drawn pictures.")
    zoom: float = option(0.4, "Part of the batches that are enlarged.")
    large: float = option(
        0.0, "Part of the batches with crops of twice the side, a quarter as many."
    )
    lpips: float = option(0.0, "Weight of LPIPS-VGG beside the squared error.")
    adversarial: float = option(0.0, "Weight of a patch discriminator (DeepJSCC-adv).")
    freeze: Literal["none", "encoder"] = option(
        "none", "encoder: train the decoder of --init alone."
    )
    compile: bool = option(
        False, "Compile the networks (torch.compile); on a GPU, steps are CUDA graphs."
    )


@dataclass(frozen=True)
class RestorationTraining(LoopOptions):
    """The defaults are the compact model's."""

    codec: str = option("", "Codec folder; empty: the model's own.")
    init: str = option(X4PLUS, f"{X4PLUS} (from a package), random, or a model.")
    width: int = option(64, "Channels, with --init random.")
    growth: int = option(32, "Channels that a convolution adds, with --init random.")
    blocks: int = option(23, "Blocks with --init random; of a model, no more are kept.")
    small: bool = option(False, "No convolution at full size, with --init random.")
    channel: Channel = option("both", "Channel of the previews.")
    snr_db: tuple[float, float] = option((-5.0, 20.0), "Range of the SNR in dB.", "--snr-range")
    batch: int = 4
    crop: int = option(256, "Side of the crop that is sent, in pixels.")
    window: int = option(128, "Side of the part of the crop that is restored, in pixels.")
    learning_rate: float = 2e-4
    drawn: float = option(0.04, "Part of the crops that are drawn pictures.")
    zoom: float = option(0.4, "Part of the batches that are enlarged.")
    lpips: float = option(1.0, "Weight of LPIPS-VGG beside L1.")
    adversarial: float = option(0.0, "Part of the gradient that is a critic's.")
    adversarial_start: float = option(0.25, "Part of the training before the critic counts.")
    checked: int = option(6, "Validation images that are restored.")
    compile: bool = option(False, "Compile the networks (torch.compile).")


@dataclass(frozen=True)
class OraNetTraining(LoopOptions):
    """Crops are sent once; the network then learns from the same results again and again."""

    codec: str = option("", "Codec whose PSNR is predicted; empty: that of --out.")
    samples: int = option(
        0, "Crops that are sent; 0: as many as fit into nine tenths of --minutes."
    )
    channel: Channel = option("both", "Channel that PSNR is predicted for.")
    snr_db: tuple[float, float] = option((-5.0, 20.0), "Range of the SNR in dB.", "--snr-range")
    batch: int = option(256, "Samples in a batch.")
    crop: int = option(192, "Side of the crops that are sent, in pixels.")
    learning_rate: float = 3e-3
    weight_decay: float = 0.3
    drawn: float = option(0.06, "Part of the crops that are drawn pictures.")
    zoom: float = option(0.4, "Part of the crops that are enlarged.")
    large: float = option(
        0.5, "Part of what is sent as crops of twice the side, a quarter as many."
    )
    checked: int = option(6, "Validation images that are sent.")


@dataclass(frozen=True)
class AutoencoderTraining(LoopOptions):
    """The defaults are the compact model's: 3.1 M parameters, 8 latent channels."""

    init: str = option("", "Model folder whose autoencoder is trained further.")
    latent_channels: int = option(8, "Channels of the latent space, f = 8.")
    channels: tuple[int, ...] = option((24, 48, 96, 128), "Widths from full size to 1/8.")
    layers: int = option(1, "Residual blocks at each size.")
    norm_groups: int = option(8, "Groups of the normalisations.")
    mid_attention: bool = option(False, "Attention at 1/8 of the size.")
    start: Literal["linear", "random"] = option(
        "linear", "First weights: colours and coarse edges, or random."
    )
    batch: int = 12
    crop: int = 80
    learning_rate: float = 6e-4
    warmup: int = 200
    lpips: float = option(0.5, "Weight of LPIPS beside L1.")
    kl: float = option(1e-4, "Weight of KL, a mean over latent values.")
    adversarial: float = option(0.0, "Weight of a patch discriminator.")
    adversarial_start: float = option(0.5, "Part of the steps before the discriminator counts.")


@dataclass(frozen=True)
class LatentOptions(LoopOptions):
    """What the trainings in the latent space share."""

    model: str = option("", "Model folder or hub id to start from; empty: --out.")
    cache: str = option("", "Folder for latents; empty: in --out.")
    captioner: str = option("keywords", "keywords, blip2, none or a folder.")
    caption_dropout: float = option(0.1, "Part of the captions that are left empty.")
    times: Times = option("logit-normal", "How the times of the noise are drawn.")
    variants: int = option(2, "Variants of each photograph; every second one is mirrored.")


@dataclass(frozen=True)
class PriorTraining(LatentOptions):
    """The defaults are the compact model's: a UNet of about 5.5 M parameters."""

    batch: int = 16
    learning_rate: float = 5e-4
    captions: Literal["both", "keywords", "people"] = option(
        "both", "Captions of the captioner (keywords), of people beside the photographs, or both."
    )
    fresh: bool = option(
        True, "A new UNet and text encoder, or the model's UNet.", "--fresh/--go-on"
    )
    channels: tuple[int, ...] = option((80, 112, 128), "Widths of a new UNet.")
    attention: tuple[bool, ...] = option(
        (False, False, True), "Whether it has attention at each of its sizes."
    )
    layers: int = option(1, "Residual blocks at each of its sizes.")
    norm_groups: int = option(16, "Groups of its normalisations.")
    head_width: int = option(32, "Width of its attention heads.")
    vocabulary: int = option(2048, "Tokens of a new tokenizer.")
    text_width: int = option(128, "Width of a new text encoder.")
    text_layers: int = option(2, "Layers of a new text encoder.")
    prediction: Literal["epsilon", "v_prediction", "sample"] = option(
        "v_prediction", "What a new UNet predicts."
    )
    schedule: Literal["scaled_linear", "linear", "squaredcos_cap_v2"] = option(
        "scaled_linear", "Noise schedule of a new UNet."
    )
    zero_snr: bool = option(False, "Rescale the schedule so that it ends in pure noise.")


@dataclass(frozen=True)
class ControlTraining(LatentOptions):
    """The defaults are the compact model's; ``PAPER`` has the paper's."""

    recipe: Literal["own", "paper"] = option(
        "own", "paper: the paper's value of every option that is not given."
    )
    codec: str = option("", "Codec folder; empty: the model's own.")
    batch: int = 16
    learning_rate: float = 4e-4
    channel: Literal["codec", "awgn", "rayleigh", "both"] = option(
        "codec", "Channel of the previews; codec: the one that the codec was trained for."
    )
    snr_db: tuple[float, float] = option((-5.0, 20.0), "Range of the SNR in dB.", "--snr-range")
    snr_scale: float = option(10.0, "Factor of the SNR in dB before the CSI embedding.")
    unfreeze: Unfreeze = option("none", "decoder: train the decoder half of the UNet, too.")
    fresh: bool = option(
        True, "A control module from the UNet, or the model's own.", "--fresh/--go-on"
    )
    sampled: bool = option(False, "Train on what --sampling-steps steps of the solver make, too.")
    lpips: float = option(1.0, "Weight of LPIPS beside L1, with --sampled.")
    adversarial: float = option(0.0, "Part of the gradient that is a critic's, with --sampled.")
    gradient_checkpointing: bool = option(False, "Less memory for a third more time.")
    solver: Literal["ddpm", "ddim", "dpm++", "unipc"] = option(
        "ddim", "Solver that the folder is sampled with."
    )
    sampling_steps: int = option(10, "Steps of that solver.")
    color_fix: Literal["none", "wavelet"] = option(
        "none", "wavelet: the folder's images take their colours from the preview."
    )
    sketch_dropout: float = option(
        0.1, "Part of the sketches that are left out, under a codec that sends them."
    )
    checked: int = option(6, "Validation images that are sampled.")


@dataclass(frozen=True)
class Recipe(CommonOptions):
    """A whole model within a given time."""

    minutes: float = option(0.0, "Time for all trainings together.", required=True)
    captioner: str = option("keywords", "keywords, blip2, none or a folder.")
    unfreeze: Unfreeze = option("decoder", "decoder: train the decoder half of the UNet, too.")
    init: str = option(X4PLUS, f"Start of the restoration: {X4PLUS}, or random for a small one.")
    lpips: float = option(1.0, "Weight of LPIPS in the last training.")
    adversarial: float = option(0.5, "Part of the last training's gradient that is a critic's.")
    batch_factor: int = option(1, "Factor of all batches; 8 for a large GPU.")
    compile: bool = option(
        False, "Compile the codec and the restoration (torch.compile): for a large GPU."
    )


# The paper's second stage, and where it does not say, its authors' code (``cldm_cnn.yaml``,
# ``train_cldm.yaml``, ``ControlLDM.configure_optimizers``): AdamW as torch has it, a constant rate
# from the first step on, no clipping, no moving average, every caption, fp32. The codec's channel;
# its SNR range is [0, 14] dB (faces: [-5, 5]). Only that a photograph meets them anew in every
# epoch is otherwise here: ``variants`` are drawn of each, once.
PAPER: dict[str, Any] = {
    "steps": 25_000,
    "batch": 16,
    "accumulate": 1,
    "crop": 512,
    "learning_rate": 1e-4,
    "warmup": 1,
    "decay": "none",
    "weight_decay": 0.01,
    "clip_norm": 0.0,
    "ema": 0.0,
    "precision": "no",
    "captioner": "blip2",
    "caption_dropout": 0.0,
    "times": "uniform",
    "variants": 8,
    "channel": "codec",
    "snr_db": (0.0, 14.0),
    "snr_scale": 100.0,
    "unfreeze": "none",
    "fresh": True,
    "sampled": False,
    "solver": "ddpm",
    "sampling_steps": 50,
    "color_fix": "none",
}


def with_recipe(options: dict[str, Any], given: Collection[str]) -> dict[str, Any]:
    """``options`` of the control module with those of their recipe, but for the ``given``."""
    if options["recipe"] == "own":
        return options
    chosen = {name: value for name, value in PAPER.items() if name not in given}
    if "minutes" in given:
        del chosen["steps"]
    return options | chosen
