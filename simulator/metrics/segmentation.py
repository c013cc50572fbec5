"""mIoU: what a pretrained segmenter sees in an image against the ground truth.

    image -segmenter-> class of each pixel -+- intersection, union of each class -> IoU -> mean
    mask  -nearest---> class of each pixel -'

Pixels are counted over all images before the ratio is taken, as the ADE20K benchmark does: Zhou
et al., "Scene Parsing through ADE20K Dataset", CVPR 2017, section 5. A class that is neither
there nor seen in any image does not count; one that is only seen counts with 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from simulator.errors import ImageError, SettingsError
from simulator.metrics.hub import fingerprint, load_network, load_parts, transformers_for

#: Trained on ADE20K, small enough for a CPU.
SUGGESTED = "nvidia/segformer-b0-finetuned-ade-512-512"

#: Marks pixels that are not judged.
IGNORED = 255

Labels = NDArray[np.int64]
#: (3, classes): pixels in both, in the prediction, and in the mask, of each class.
Counts = NDArray[np.int64]


class Segmenter:
    """``model``: a hub id, or a folder in the hub's layout, of a semantic (SegFormer, UperNet) or
    universal (Mask2Former, OneFormer) segmenter.

    ``zero_is_other``: in its masks 0 is "something else" and class c is written c + 1, as in
    ADE20K's (``do_reduce_labels`` of its image processor). Raises ModelError where it cannot be
    loaded, MissingPackageError without transformers.
    """

    def __init__(self, model: str = SUGGESTED, device: torch.device | str = "cpu") -> None:
        library = transformers_for("mIoU")
        self.device = device

        def load(place: str) -> tuple[Any, Any]:
            config = library.AutoConfig.from_pretrained(place)
            names = " ".join(config.architectures or [])
            universal = "Universal" in names or "InstanceSegmentation" in names
            kind = "AutoModelForUniversalSegmentation" if universal else None
            auto = getattr(library, kind or "AutoModelForSemanticSegmentation")
            processor = library.AutoImageProcessor.from_pretrained(place, backend="pil")
            return load_network(auto, place), processor

        self._network: Any
        self._processor: Any
        self._network, self._processor = load_parts(model, "the segmenter", load)
        self.classes = int(self._network.config.num_labels)
        self.zero_is_other = bool(getattr(self._processor, "do_reduce_labels", False))
        self.name = f"segmenter-{fingerprint(self._network, self._processor)}"
        self._network.to(device)

    def predict(self, pixels: NDArray[np.uint8]) -> Labels:
        """(H, W) classes of one (H, W, 3) uint8 RGB image."""
        seen = self._processor(images=[pixels], return_tensors="pt").to(self.device)
        with torch.inference_mode():
            outputs = self._network(**seen)
            (found,) = self._processor.post_process_semantic_segmentation(
                outputs, target_sizes=[pixels.shape[:2]]
            )
        labels: Labels = found.cpu().numpy().astype(np.int64)
        return labels

    def truth(self, path: Path, size: tuple[int, int]) -> Labels:
        """``read_mask``, as this segmenter numbers its classes."""
        return read_mask(path, size, self.classes, self.zero_is_other)


def read_mask(path: Path, size: tuple[int, int], classes: int, zero_is_other: bool) -> Labels:
    """(H, W) classes of a mask, an image whose values are classes; 255 is not judged.

    A mask of another size is resized to ``size`` (H, W), each pixel from the nearest: no class is
    mixed from two. Raises ImageError where the file is no such mask, or of another shape than
    the image.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "I;16", "I"):
                raise ImageError(
                    f"the mask {path} is a colour image ({image.mode}); class numbers are wanted."
                )
            width, height = image.size
            # One pixel of rounding on each side is no other shape.
            if abs(width * size[0] - height * size[1]) > size[0] + size[1] + width + height:
                raise ImageError(
                    f"the mask {path} is {width}x{height}, which is no scale of the image's "
                    f"{size[1]}x{size[0]}; masks must show the whole image."
                )
            values = np.asarray(image).astype(np.int64)
    except OSError as error:
        raise ImageError(f"the mask {path} cannot be read ({error}).") from None
    rows = (np.arange(size[0]) + 0.5) * height / size[0]
    columns = (np.arange(size[1]) + 0.5) * width / size[1]
    labels: Labels = values[rows.astype(np.int64)[:, None], columns.astype(np.int64)]
    if zero_is_other:
        labels = np.where((labels == 0) | (labels == IGNORED), IGNORED, labels - 1)
    strange = labels[(labels != IGNORED) & (labels >= classes)]
    if strange.size:
        raise ImageError(
            f"the mask {path} has a class {strange.max()}, and the segmenter knows {classes}; "
            "give masks of the classes that it was trained on."
        )
    return labels


def find_mask(folder: Path, image: str) -> Path | None:
    """The mask named as the image is, whatever the suffix: ``NAME.png`` of ``NAME.jpg``.

    Masks may lie in folders as their images do: ``a/NAME.png`` goes before ``NAME.png``.
    """
    parts = [part for part in Path(image).parts if part not in ("/", "..")]
    for first in range(len(parts)):
        named = folder.joinpath(*parts[first:])
        for suffix in (".png", ".tif", ".tiff", ".bmp"):
            if (path := named.with_suffix(suffix)).is_file():
                return path
    return None


class Masks:
    """The masks of a folder; each belongs to one image."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owners: dict[Path, str] = {}

    def find(self, image: str) -> Path | None:
        """None where it has none. Raises SettingsError for a mask that is another image's."""
        mask = find_mask(self._folder, image)
        if mask is None:
            return None
        owner = self._owners.setdefault(mask, image)
        if owner != image:
            raise SettingsError(
                f"{mask} would be the mask of {owner} and of {image}; put the masks into folders "
                f"named as those of their images."
            )
        return mask


def count(predicted: Labels, truth: Labels, classes: int) -> Counts:
    """(3, classes) pixels in both, in the prediction and in the truth, where it is judged."""
    judged = truth != IGNORED
    predicted, truth = predicted[judged], truth[judged]
    hits = truth[predicted == truth]
    return np.stack([np.bincount(v, minlength=classes) for v in (hits, predicted, truth)])


def miou(counts: Counts) -> float:
    """The mean of intersection / union over the classes that have a union.

    Raises SettingsError where no pixel is judged.
    """
    both, predicted, truth = counts
    union = predicted + truth - both
    if not union.any():
        raise SettingsError("no pixel of the masks is of a class that counts: there is no mIoU.")
    return float((both[union > 0] / union[union > 0]).mean())
