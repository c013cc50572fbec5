"""``diffjscc train``: the codec, the autoencoder, the prior and the control module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from simulator.training.progress import Progress

train = typer.Typer(help="Train the models that ship with the project.", no_args_is_help=True)

Data = Annotated[list[str], typer.Option(help="Folder of photographs; may be repeated.")]
Validation = Annotated[
    list[str] | None, typer.Option(help="Images or folders kept out of training.")
]
Steps = Annotated[int, typer.Option(help="Adam steps; the schedule spans them.")]
Minutes = Annotated[float, typer.Option(help="Or: as many steps as fit in this time.")]
Batch = Annotated[int, typer.Option(help="Crops a step and process.")]
Accumulate = Annotated[int, typer.Option(help="Batches a step.")]
Crop = Annotated[int, typer.Option(help="Side of a crop in pixels.")]
Rate = Annotated[float, typer.Option(help="Peak of the cosine.")]
Seed = Annotated[int, typer.Option()]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
Precision = Annotated[str, typer.Option(help="no, bf16 or fp16 (mixed).")]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="torch.compile; on a GPU, steps of the codec as CUDA graphs."),
]
Threads = Annotated[int, typer.Option(help="0: torch decides.")]
Warmup = Annotated[int, typer.Option(help="Steps over which the rate rises.")]
Ema = Annotated[float, typer.Option(help="Decay of the moving average of the weights.")]
Validate = Annotated[float, typer.Option(help="Minutes between validations and pictures.")]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write events beside the checkpoints.")
]


@contextmanager
def training(
    events: Path | None,
) -> Iterator[tuple[Callable[[Progress], None], Callable[[], bool]]]:
    """Live progress, and whether the user has asked to stop."""
    from simulator.cli.progress import training_progress
    from simulator.process import Stopper

    stop = Stopper()
    stop.install()
    with training_progress(events) as report:
        yield report, lambda: bool(stop)


def tupled(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a command as a frozen dataclass takes them."""
    return {k: tuple(v or ()) if k in ("data", "validation") else v for k, v in options.items()}


def from_command_line(context: typer.Context, name: str) -> bool:
    """Whether somebody has given an option: else it has its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


@train.command("codec")
def train_codec(
    data: Data,
    out: Annotated[Path, typer.Option(help="Codec folder; holds the checkpoints, too.")],
    codec: Annotated[str, typer.Option(help="adaptive, cnn or swin.")] = "adaptive",
    init: Annotated[str, typer.Option(help="Codec folder to start from.")] = "",
    start: Annotated[
        str, typer.Option(help="Of adaptive: linear (DCT beside the networks) or random.")
    ] = "linear",
    cbr: Annotated[str, typer.Option(help="For cnn: its one bandwidth ratio.")] = "1/384",
    channel: Annotated[str, typer.Option(help="awgn, rayleigh or both.")] = "both",
    steps: Annotated[int, typer.Option(help="Adam steps; the schedule spans them.")] = 0,
    minutes: Annotated[float, typer.Option(help="Or: as many steps as fit in this time.")] = 0.0,
    batch: Batch = 8,
    accumulate: Accumulate = 1,
    crop: Crop = 192,
    learning_rate: Annotated[
        float, typer.Option(help="Peak of the cosine; for swin 1e-4 is its authors'.")
    ] = 1e-3,
    snr_range: Annotated[
        tuple[float, float], typer.Option(help="SNR is uniform in this range of dB.")
    ] = (-5.0, 20.0),
    adversarial: Annotated[
        float, typer.Option(help="Weight of a patch discriminator: DeepJSCC-adv.")
    ] = 0.0,
    lpips: Annotated[float, typer.Option(help="Weight of LPIPS-VGG beside the error.")] = 0.0,
    drawn: Annotated[float, typer.Option(help="Part of the crops that are drawn.")] = 0.06,
    zoom: Annotated[float, typer.Option(help="Part of the batches that are enlarged.")] = 0.4,
    freeze: Annotated[
        str, typer.Option(help="none, or encoder: train the decoder of --init alone.")
    ] = "none",
    validation: Annotated[
        list[str] | None, typer.Option(help="Images or folders kept out of training.")
    ] = None,
    ema: Ema = 0.999,
    warmup: Warmup = 100,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "no",
    compile: Compile = False,
    threads: Threads = 0,
    validate_minutes: Validate = 15.0,
    tensorboard: TensorBoard = False,
) -> None:
    """Stage 1: the codec, equation (6). Run again to resume."""
    given = tupled({k: v for k, v in locals().items() if k not in ("out", "tensorboard")})
    given["bandwidth_ratio"], given["snr_db"] = given.pop("cbr"), given.pop("snr_range")
    from simulator.training.codec import train_codec as run
    from simulator.training.codec_options import CodecTraining

    with training(out / "training" if tensorboard else None) as (report, stop):
        run(CodecTraining(**given), out, report, stop)
    typer.echo(f"codec folder: {out}")


@train.command("restoration")
def train_restoration(
    data: Data,
    out: Annotated[Path, typer.Option(help="Model folder; restoration/ is made in it.")],
    codec: Annotated[str, typer.Option(help="Codec folder; empty: the model's own.")] = "",
    init: Annotated[
        str, typer.Option(help="x4plus (of a package), random, or a model folder.")
    ] = "x4plus",
    validation: Validation = None,
    steps: Steps = 0,
    minutes: Minutes = 0.0,
    batch: Batch = 4,
    accumulate: Accumulate = 1,
    crop: Annotated[int, typer.Option(help="Side of what is sent, in pixels.")] = 256,
    window: Annotated[int, typer.Option(help="Side of what is restored of it.")] = 128,
    learning_rate: Rate = 2e-4,
    width: Annotated[int, typer.Option(help="With --init random: channels.")] = 64,
    growth: Annotated[int, typer.Option(help="With --init random: of a dense block.")] = 32,
    blocks: Annotated[int, typer.Option(help="With --init random: how many.")] = 23,
    small: Annotated[
        bool, typer.Option("--small", help="With --init random: nothing at full size.")
    ] = False,
    channel: Annotated[str, typer.Option(help="awgn, rayleigh or both.")] = "both",
    snr_range: Annotated[
        tuple[float, float], typer.Option(help="SNR is uniform in this range of dB.")
    ] = (-5.0, 20.0),
    drawn: Annotated[float, typer.Option(help="Part of the crops that are drawn.")] = 0.04,
    zoom: Annotated[float, typer.Option(help="Part of the batches that are enlarged.")] = 0.4,
    lpips: Annotated[float, typer.Option(help="Weight of LPIPS-VGG beside L1.")] = 1.0,
    adversarial: Annotated[float, typer.Option(help="A critic's part of the gradient.")] = 0.0,
    adversarial_start: Annotated[float, typer.Option(help="From this part of the training.")] = (
        0.25
    ),
    checked: Annotated[int, typer.Option(help="Validation images that are restored.")] = 6,
    ema: Ema = 0.999,
    warmup: Warmup = 100,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "no",
    compile: Compile = False,
    threads: Threads = 0,
    validate_minutes: Validate = 15.0,
    tensorboard: TensorBoard = False,
) -> None:
    """The restoration of previews in one pass. Run again to resume."""
    given = tupled({k: v for k, v in locals().items() if k not in ("out", "tensorboard")})
    given["snr_db"] = given.pop("snr_range")
    from simulator.training.restoration import RestorationTraining
    from simulator.training.restoration import train_restoration as run

    with training(out / "training" if tensorboard else None) as (report, stop):
        typer.echo(f"restoration: {run(RestorationTraining(**given), out, report, stop)}")


@train.command("blend")
def train_blend(
    first: Annotated[str, typer.Argument(help="Model folder, before a critic.")],
    second: Annotated[str, typer.Argument(help="Model folder, after it.")],
    out: Annotated[Path, typer.Option(help="Model folder; restoration/ is made in it.")],
    weight: Annotated[float, typer.Option(help="Of the second, 0 to 1.")] = 0.6,
) -> None:
    """A restoration between two: weights of the same network, interpolated."""
    from simulator.training.restoration import blend

    typer.echo(f"restoration: {blend(first, second, weight, out)}")


@train.command("autoencoder")
def train_autoencoder(
    data: Data,
    out: Annotated[Path, typer.Option(help="Model folder; vae/ and training/ are made in it.")],
    validation: Validation = None,
    steps: Steps = 0,
    minutes: Minutes = 0.0,
    batch: Batch = 12,
    accumulate: Accumulate = 1,
    crop: Crop = 80,
    learning_rate: Rate = 6e-4,
    latent_channels: Annotated[int, typer.Option(help="Channels of the latent, f = 8.")] = 8,
    channels: Annotated[
        tuple[int, int, int, int], typer.Option(help="Widths from full size to 1/8.")
    ] = (24, 48, 96, 128),
    layers: Annotated[int, typer.Option(help="Residual blocks a size.")] = 1,
    norm_groups: Annotated[int, typer.Option(help="Groups of the normalisations.")] = 8,
    mid_attention: Annotated[bool, typer.Option(help="Attention at 1/8.")] = False,
    start: Annotated[
        str, typer.Option(help="First weights: linear (colours and coarse edges) or random.")
    ] = "linear",
    lpips: Annotated[float, typer.Option(help="Weight of LPIPS beside L1.")] = 0.5,
    kl: Annotated[float, typer.Option(help="Weight of KL, a mean over latent values.")] = 1e-4,
    adversarial: Annotated[float, typer.Option(help="Weight of a patch discriminator.")] = 0.0,
    adversarial_start: Annotated[float, typer.Option(help="From this part of the steps.")] = 0.5,
    init: Annotated[str, typer.Option(help="Model folder whose autoencoder to go on with.")] = "",
    ema: Ema = 0.999,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "no",
    threads: Threads = 0,
    validate_minutes: Validate = 15.0,
    tensorboard: TensorBoard = False,
) -> None:
    """The latent space: an AutoencoderKL, f = 8. Run again to resume."""
    given = tupled({k: v for k, v in locals().items() if k not in ("out", "tensorboard")})
    from simulator.training.autoencoder import AutoencoderTraining
    from simulator.training.autoencoder import train_autoencoder as run

    with training(out / "training" if tensorboard else None) as (report, stop):
        typer.echo(f"autoencoder: {run(AutoencoderTraining(**given), out, report, stop)}")


Model = Annotated[str, typer.Option(help="Model folder or hub id to start from; empty: --out.")]
Cache = Annotated[str, typer.Option(help="Folder for latents; empty: in --out.")]
Captions = Annotated[str, typer.Option(help="Captioner: keywords, blip2, none or a folder.")]
Times = Annotated[str, typer.Option(help="Drawn times: uniform or logit-normal.")]
Variants = Annotated[int, typer.Option(help="Of each photograph; odd ones are mirrored.")]
Dropout = Annotated[float, typer.Option(help="Part of captions left empty.")]


@train.command("prior")
def train_prior(
    data: Data,
    out: Annotated[Path, typer.Option(help="Model folder; unet/ and text_encoder/ go there.")],
    model: Model = "",
    validation: Validation = None,
    steps: Steps = 0,
    minutes: Minutes = 0.0,
    batch: Batch = 16,
    accumulate: Accumulate = 1,
    crop: Crop = 256,
    learning_rate: Rate = 5e-4,
    fresh: Annotated[
        bool, typer.Option("--fresh/--go-on", help="A new UNet and text encoder, or the model's.")
    ] = True,
    channels: Annotated[tuple[int, int, int], typer.Option(help="Widths of a new UNet.")] = (
        80,
        112,
        128,
    ),
    attention: Annotated[
        tuple[bool, bool, bool], typer.Option(help="Which sizes of it have attention.")
    ] = (False, False, True),
    layers: Annotated[int, typer.Option(help="Its residual blocks a size.")] = 1,
    vocabulary: Annotated[int, typer.Option(help="Tokens of a new tokenizer.")] = 2048,
    text_width: Annotated[int, typer.Option(help="Width of a new text encoder.")] = 128,
    text_layers: Annotated[int, typer.Option(help="Its layers.")] = 2,
    prediction: Annotated[
        str, typer.Option(help="epsilon, v_prediction or sample.")
    ] = "v_prediction",
    schedule: Annotated[
        str, typer.Option(help="Of noise: scaled_linear, linear or squaredcos_cap_v2.")
    ] = "scaled_linear",
    zero_snr: Annotated[
        bool, typer.Option("--zero-snr", help="Rescale it, so that it ends in pure noise.")
    ] = False,
    captioner: Captions = "keywords",
    captions: Annotated[str, typer.Option(help="both, keywords or people.")] = "both",
    caption_dropout: Dropout = 0.1,
    times: Times = "logit-normal",
    variants: Variants = 2,
    cache: Cache = "",
    ema: Ema = 0.999,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "no",
    threads: Threads = 0,
    validate_minutes: Validate = 15.0,
    tensorboard: TensorBoard = False,
) -> None:
    """The prior: text-conditioned latent diffusion. Run again to resume."""
    given = tupled({k: v for k, v in locals().items() if k not in ("out", "tensorboard")})
    from simulator.cli.progress import run_progress
    from simulator.training.prior import PriorTraining
    from simulator.training.prior import train_prior as run

    with (
        run_progress("latents") as on_cache,
        training(out / "training" if tensorboard else None) as (report, stop),
    ):
        path = run(PriorTraining(**given), out, report, stop, on_cache)
    typer.echo(f"prior: {path}")


@train.command("control")
def train_control(
    context: typer.Context,
    data: Data,
    out: Annotated[Path, typer.Option(help="Model folder; it is complete afterwards.")],
    recipe: Annotated[
        str,
        typer.Option(help="paper: every number of the paper's that no other option changes."),
    ] = "own",
    model: Model = "",
    codec: Annotated[str, typer.Option(help="Codec folder; empty: the model's own.")] = "",
    validation: Validation = None,
    steps: Steps = 0,
    minutes: Minutes = 0.0,
    batch: Batch = 16,
    accumulate: Accumulate = 1,
    crop: Crop = 256,
    learning_rate: Rate = 4e-4,
    unfreeze: Annotated[str, typer.Option(help="none, or decoder: the UNet's decoder half.")] = (
        "none"
    ),
    fresh: Annotated[
        bool,
        typer.Option("--fresh/--go-on", help="A control module from the UNet, or the model's own."),
    ] = True,
    sampled: Annotated[
        bool, typer.Option("--sampled", help="Train on what --sampling-steps of the solver make.")
    ] = False,
    lpips: Annotated[float, typer.Option(help="With --sampled: weight of LPIPS beside L1.")] = 1.0,
    adversarial: Annotated[
        float, typer.Option(help="With --sampled: a critic's part of the gradient.")
    ] = 0.0,
    channel: Annotated[
        str,
        typer.Option(help="awgn, rayleigh or both; codec: what the codec was trained for."),
    ] = "codec",
    snr_range: Annotated[
        tuple[float, float], typer.Option(help="SNR is uniform in this range of dB.")
    ] = (-5.0, 20.0),
    snr_scale: Annotated[float, typer.Option(help="The CSI embedding sees dB times this.")] = 10.0,
    gradient_checkpointing: Annotated[
        bool, typer.Option(help="Less memory, a third more time.")
    ] = False,
    solver: Annotated[str, typer.Option(help="Written into the folder.")] = "ddim",
    sampling_steps: Annotated[int, typer.Option(help="Written into the folder.")] = 10,
    color_fix: Annotated[
        str, typer.Option(help="none or wavelet (colours of the preview); written into the folder.")
    ] = "none",
    captioner: Captions = "keywords",
    caption_dropout: Dropout = 0.1,
    times: Times = "logit-normal",
    variants: Variants = 2,
    cache: Cache = "",
    checked: Annotated[int, typer.Option(help="Validation images that are sampled.")] = 6,
    ema: Ema = 0.999,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "no",
    threads: Threads = 0,
    validate_minutes: Validate = 15.0,
    tensorboard: TensorBoard = False,
) -> None:
    """Stage 2: the control module, equation (15). Run again to resume."""
    words = {k: v for k, v in locals().items() if k not in ("out", "tensorboard", "context")}
    options = tupled(words)
    named = {name for name in options if from_command_line(context, name)}
    options["snr_db"] = options.pop("snr_range")
    named |= {"snr_db"} if "snr_range" in named else set()
    from simulator.cli.progress import run_progress
    from simulator.training.control import ControlTraining, with_recipe
    from simulator.training.control import train_control as run

    given = with_recipe(options, named)

    with (
        run_progress("previews") as on_cache,
        training(out / "training" if tensorboard else None) as (report, stop),
    ):
        path = run(ControlTraining(**given), out, report, stop, on_cache)
    typer.echo(f"model folder: {path}")


@train.command("all")
def train_all(
    data: Data,
    out: Annotated[Path, typer.Option(help="Model folder; it is complete afterwards.")],
    minutes: Annotated[float, typer.Option(help="For all trainings together.")],
    validation: Validation = None,
    captioner: Captions = "keywords",
    unfreeze: Annotated[str, typer.Option(help="none, or decoder: the UNet's decoder half.")] = (
        "decoder"
    ),
    init: Annotated[
        str, typer.Option(help="Start of the restoration: x4plus, or random for a small one.")
    ] = "x4plus",
    lpips: Annotated[float, typer.Option(help="Weight of LPIPS in the last training.")] = 1.0,
    adversarial: Annotated[float, typer.Option(help="Of a critic in the last training.")] = 0.5,
    batch_factor: Annotated[
        int, typer.Option(help="Batches so many times larger; 8 for a large GPU.")
    ] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "no",
    threads: Threads = 0,
) -> None:
    """A whole model in a given time, codec to control module. Run again to resume."""
    given = tupled({k: v for k, v in locals().items() if k != "out"})
    from simulator.cli.progress import run_progress
    from simulator.training.recipe import Recipe, trainings

    for name, run in trainings(Recipe(**given), out):
        typer.echo(f"{name}:")
        with run_progress("latents") as on_cache, training(None) as (report, stop):
            run(report, stop, on_cache)
    typer.echo(f"model folder: {out}")
