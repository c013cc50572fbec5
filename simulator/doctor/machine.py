"""``diffjscc doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
from collections.abc import Callable

from simulator.doctor.finding import Finding, tell
from simulator.errors import DiffJsccError, add_extra
from simulator.output import Output
from simulator.process import has_matrix_unit


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def package(name: str, extra: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, None, f"not installed: {add_extra(extra)}")
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a broken install raises anything
        return Finding(name, False, f"does not import: {first_line(error)}; install it again")
    return Finding(name, True, str(getattr(module, "__version__", "installed")))


def torchvision() -> Finding:
    """A torchvision that does not fit torch breaks transformers, diffusers and torchmetrics."""
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", True, "absent, and not needed")
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        reason = first_line(error)
        return Finding("torchvision", False, f"broken ({reason}); run: pip uninstall torchvision")
    return Finding("torchvision", True, "imports")


def device() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("device", None, "no torch: this machine can be tx or channel")
    import torch

    if torch.cuda.is_available():
        return Finding("device", True, f"cuda: {torch.cuda.get_device_name()}")
    amx = ", AMX (restoration in bfloat16)" if has_matrix_unit() else ""
    return Finding("device", True, f"cpu, {torch.get_num_threads()} threads{amx}")


def codec() -> Finding:
    from simulator.jscc.folder import ENCODER, WEIGHTS, read_codec_folder

    folder = read_codec_folder("compact")
    folder.file(WEIGHTS)
    folder.file(ENCODER)
    return Finding("codec compact", True, f"{folder.fingerprint}, with ONNX encoder")


BESIDE_TORCHVISION = "cannot run beside the broken torchvision; see there"


def have(*packages: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in packages)


def model(name: str) -> Finding:
    from simulator.models.folder import fingerprint, read_model_index

    path, _ = read_model_index(name)
    return Finding(f"model {name}", True, fingerprint(name, path))


def diffusion() -> Finding:
    if not have("torch", "diffusers", "transformers"):
        return Finding("diffusion", None, "needs torch, diffusers and transformers")
    if torchvision().ok is False:
        return Finding("diffusion", False, BESIDE_TORCHVISION)
    importlib.import_module("rx.pipeline")
    return Finding("diffusion", True, "the receiver's pipeline imports")


def keyword_captions() -> Finding:
    if not have("torch"):
        return Finding("keyword captions", None, "need torch")
    from simulator.metrics.effnet import load_effnet

    load_effnet()
    return Finding("keyword captions", True, "EfficientNet-Lite0 found")


def blip2() -> Finding:
    if not have("torch", "transformers", "huggingface_hub"):
        return Finding("BLIP-2", None, "needs torch and transformers")
    if torchvision().ok is False:
        return Finding("BLIP-2", False, BESIDE_TORCHVISION)
    from huggingface_hub import try_to_load_from_cache

    from rx.blip2 import HUB_ID

    transformers = importlib.import_module("transformers")
    for name in ("Blip2ForConditionalGeneration", "BlipImageProcessorPil"):
        getattr(transformers, name)
    if not isinstance(try_to_load_from_cache(HUB_ID, "config.json"), str):
        return Finding("BLIP-2", None, f"can run; weights are not here: hf download {HUB_ID}")
    return Finding("BLIP-2", True, f"{HUB_ID} is in the hub's cache")


def lpips() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("LPIPS", None, "needs torch")
    from simulator.metrics.lpips_weights import find_weights

    find_weights()
    return Finding("LPIPS", True, "weights found")


def fid() -> Finding:
    if not have("torch"):
        return Finding("FID", None, "needs torch")
    from simulator.metrics.inception import load_inception

    load_inception()
    return Finding("FID", True, "weights found")


def hub_network(what: str, hub_id: str, option: str) -> Finding:
    """A metric whose network is one of the hub: can it run, is a usual one in the hub's cache?"""
    if not have("torch", "transformers", "huggingface_hub"):
        return Finding(what, None, "needs torch and transformers")
    if torchvision().ok is False:
        return Finding(what, False, BESIDE_TORCHVISION)
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(hub_id, "config.json"), str):
        get = f"hf download {hub_id} (or any other; evaluate {option})"
        return Finding(what, None, f"can run; weights are not here: {get}")
    return Finding(what, True, f"{hub_id} is in the hub's cache")


def clip_score() -> Finding:
    if not have("torch"):
        return Finding("CLIP score", None, "needs torch and transformers")
    from simulator.metrics.clip import SUGGESTED

    return hub_network("CLIP score", SUGGESTED, "--clip ID")


def segmenter() -> Finding:
    if not have("torch"):
        return Finding("mIoU", None, "needs torch and transformers")
    from simulator.metrics.segmentation import SUGGESTED

    return hub_network("mIoU", SUGGESTED, "--segmenter ID --masks FOLDER")


def loopback() -> Finding:
    import zmq

    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
    return Finding("loopback", True, f"port {port} could be bound; ZeroMQ {zmq.zmq_version()}")


def encryption() -> Finding:
    import zmq

    if zmq.has("curve"):
        return Finding("encryption", True, "ZeroMQ has CURVE: keys can be used")
    return Finding(
        "encryption",
        None,
        "ZeroMQ was built without CURVE: the link works on loopback or with --insecure; "
        "run: pip install --force-reinstall --only-binary pyzmq pyzmq",
    )


def photographs() -> Finding:
    from simulator.images import sample_photographs

    return Finding("sample photographs", True, f"{len(sample_photographs())} found")


CHECKS: tuple[Callable[[], Finding], ...] = (
    lambda: Finding("python", True, f"{platform.python_version()}, {os.cpu_count()} cores"),
    lambda: package("onnxruntime", "tx"),
    lambda: package("torch", "rx"),
    lambda: package("pytorch_msssim", "rx"),
    torchvision,
    lambda: package("diffusers", "rx"),
    lambda: package("transformers", "rx"),
    lambda: package("accelerate", "rx"),
    lambda: package("av", "eval"),  # HEVC of the digital baseline
    device,
    codec,
    lambda: model("compact"),
    lambda: model("quick"),
    diffusion,
    keyword_captions,
    blip2,
    lpips,
    fid,
    clip_score,
    segmenter,
    photographs,
    loopback,
    encryption,
)
NAMES = {lpips: "LPIPS", fid: "FID"}  # of checks that fail with a sentence of their own


def examine() -> bool:
    """Print every finding; True where nothing is broken."""
    console = Output()
    sound = True
    for check in CHECKS:
        name = NAMES.get(check, getattr(check, "__name__", "check").replace("_", " "))
        try:
            finding = check()
        except DiffJsccError as error:
            finding = Finding(name, None, str(error))
        except Exception as error:  # of a broken package: the other checks go on
            finding = Finding(name, False, f"{type(error).__name__}: {first_line(error)}")
        sound = sound and finding.ok is not False
        tell(finding, console)
    return sound
