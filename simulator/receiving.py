"""The section ``rx`` of the settings: what a receiver runs, where, and what it keeps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from simulator.air import Section

# Part of file names at the receiver, and of every message.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Condition = Literal["spatial", "snr", "h", "caption"]  # equation (9)
CONDITIONS: list[Condition] = ["spatial", "snr", "h", "caption"]


class RxSettings(Section):
    """The receiver. Where a default says so, the model folder decides: it knows what it was
    trained for."""

    name: Name = "rx"
    """The name of this receiver, in ledgers, file names, rows and keys."""
    preview: str = ""
    """Codec folder with a decoder for the preview alone; empty: the codec's."""
    refine: bool = True
    """Whether previews are refined; false: plain DeepJSCC."""
    receiver: str = ""
    """A receiver that a plugin adds, in place of the model's; empty: the model's."""
    diffusion: bool | None = None
    """Whether the restored image goes through diffusion; unset: the folder's, or on where a setting
    of the sampler, the captioner or the conditions is given."""
    steps: Annotated[int, Field(ge=0, le=1000)] = 0
    """Steps of the sampler; 0: the folder's."""
    solver: str = ""
    """The sampler: ddpm, ddim, dpm++ or unipc; empty: the folder's."""
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    """Lambda, the pull towards the preview; unset: the folder's."""
    guidance: Literal["", "official", "paper"] = ""
    """Whether the pull is as in the authors' code, or equation (17); empty: the folder's."""
    guidance_repeat: Annotated[int, Field(ge=0)] = 0
    """Pulls per step; 0: the folder's, or else about fifty per image."""
    show_steps: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many steps of the sampler leave a picture in the run folder, for diffjscc watch, each in
    place of the one before; 0: none. The result is the same."""
    color_fix: Literal["", "none", "wavelet"] = ""
    """Whether low frequencies are taken from the preview; empty: the folder's."""
    fidelity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much of the preview's coarse structure a restored image keeps: PSNR rises, and LPIPS and
    DISTS with it; 0: as it was trained."""
    captioner: str = ""
    """What makes captions: keywords, blip2, none, given:FILE or a folder; empty: the folder's."""
    conditions: list[Condition] = CONDITIONS
    """The conditions of equation (9) that the denoiser is given."""
    control_every: Annotated[int, Field(ge=1)] = 1
    """Steps that share what the control module says; 1: it is asked at every step."""
    deep_every: Annotated[int, Field(ge=1)] = 1
    """Steps that share what the deep blocks of the UNet say; 1: they run at every step."""
    channels_last: bool = False
    """Whether UNet and control module have their channels last in memory, which GPUs prefer."""
    compile: Literal["none", "inductor", "cuda-graphs"] = "none"
    """Whether UNet and control module are compiled at the start: by torch's compiler, or with
    CUDA graphs, too."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The precision of the model; auto: bfloat16 on cuda, and on processors with AMX where there is
    no diffusion; float32 elsewhere."""
    decoder_dtype: Literal["float32", "bfloat16"] = "float32"
    """The precision of the codec's decoder. bfloat16 is quicker on GPUs and on processors with
    AMX, and previews are no longer those of a sweep to the last bit."""
    offload: Literal["none", "model", "sequential"] = "none"
    """What is kept in the processor's memory while it is not used, for GPUs with little memory."""
    warm_start: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of the sampler's steps that is left out where a transmitter has sent an image of
    this size before: sampling goes on from that one, refined, and the noise is the same for all its
    images; 0: every image starts from noise of its own."""
    batch: Annotated[int, Field(ge=0)] = 0
    """Frames refined together; 0: what queues and fits into memory."""
    tile: Annotated[int, Field(ge=0)] = 0
    """Side of overlapping tiles in pixels; 0: whole images, if they fit."""
    equalizer: Literal["zero-forcing", "mmse"] = "zero-forcing"
    """How the fading is undone; mmse is for codecs that were trained behind it."""
    device: str = "auto"
    """Where networks run: cpu, cuda, cuda:1 or mps; auto: cuda where there is one."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of refinement; 0: the library's default. Previews and scores have one always."""
    keep_memory: bool = True
    """Whether memory that is freed on a processor is kept for the next image (glibc)."""
    slots: Annotated[int, Field(ge=1, le=1024)] = 8
    """Frames held at once."""
    affinity: bool = False
    """Whether all frames of a transmitter come to the same receiver, in their order, as long as it
    is there; false: each goes to the receiver with most room."""
    reference: Literal["attached", "none"] | str = "attached"
    """What results are scored against: attached, none or a folder of originals."""
    lpips: bool = True
    """Whether LPIPS is scored."""
    save_images: bool = True
    """Whether results are kept in the run folder."""
    keep: Annotated[int, Field(ge=0)] = 0
    """Of how many of the newest frames they are kept; rows of all frames stay; 0: of all."""
    drain_s: Annotated[float, Field(ge=0)] = 5.0
    """Seconds for the frames that the receiver holds when it is stopped."""
    decode_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Seconds that decoding a frame takes at least, as on a slower machine; 0: no longer than it
    does."""
    connect: str = "tcp://127.0.0.1:5551"
    """The channel's address for receivers (channel.back)."""
    keys: str = ""
    """Folder made by: diffjscc keys init rx; empty: no encryption."""

    def refining(self) -> dict[str, Any]:
        """The settings that change refined images."""
        sampling = "diffusion steps solver guidance_scale guidance guidance_repeat color_fix"
        names = [*sampling.split(), "captioner", "dtype", "tile"]
        fields: dict[str, Any] = {name: getattr(self, name) for name in names}
        # What a result of before these settings says nothing of.
        later = ("control_every", "deep_every", "channels_last", "compile", "warm_start")
        defaults = RxSettings.model_fields
        fields |= {
            name: value
            for name in (*later, "fidelity", "receiver")
            if (value := getattr(self, name)) != defaults[name].default
        }
        return fields | {"conditions": sorted(self.conditions)}
