"""Frames that receivers are denoising now, by the pictures that they leave in their run folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.denoising import FOLDER, MAX_FILES, About, read
from simulator.link.clock import Clock, monotonic

STALE_S = 60.0
REFINING, REFINED, AWAY = "refining", "refined at rx", "no row yet"
#: A frame with such a status has no row; what comes may take its place.
WITHOUT_ROW = (REFINING, REFINED, AWAY)


@dataclass
class Now:
    """A frame that is being denoised. ``files``: by stage of the page."""

    about: About
    files: dict[str, Path] = field(default_factory=dict)

    def row(self, stale: bool) -> dict[str, Any]:
        """What is known of it, by the keys of rows."""
        about = self.about
        told = f"step {about.step} of {about.steps}" if about.step else "begun"
        done = about.step >= about.steps
        return {
            "frame_id": about.frame_id,
            "status": REFINED if done else REFINING,
            "reason": f"{told}, for more than a minute" if stale and not done else told,
            "image": about.image,
            "receiver": about.receiver,
            "height": about.height,
            "width": about.width,
        }


class Denoised:
    def __init__(self, folders: Sequence[Path], clock: Clock = monotonic) -> None:
        self._folders, self._clock = folders, clock
        self._seen: dict[str, tuple[About, float]] = {}  # with the moment when it was seen first
        self.now: dict[str, Now] = {}

    def look(self) -> dict[str, dict[str, Any]]:
        """Rows of those frames, by their ids."""
        found: dict[str, Now] = {}
        for folder in self._folders:
            for path in sorted((folder / FOLDER).glob("*.jpg"))[:MAX_FILES]:
                about = read(path)
                if about is None:
                    continue
                # Of both files the step is the later one: its name sorts behind.
                known = found.setdefault(about.frame_id, Now(about))
                known.about = about
                known.files["refined" if path.stem.endswith(".step") else "preview"] = path
        self.now, at = found, self._clock()
        before, self._seen = self._seen, {}
        rows = {}
        for key, each in found.items():
            known_about, since = before.get(key, (None, at))
            since = since if known_about == each.about else at
            self._seen[key] = each.about, since
            rows[key] = each.row(at - since > STALE_S)
        return rows

    def file(self, key: str, stage: str) -> Path | None:
        """The picture of a stage, if it is still that frame's."""
        now = self.now.get(key)
        path = now.files.get(stage) if now else None
        about = read(path) if path else None
        return path if about is not None and about.frame_id == key else None
