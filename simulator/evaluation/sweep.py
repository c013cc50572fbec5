"""``diffjscc sweep``: an experiment from its configuration to tables and plots.

Experiment, images -> chunks -> engine -> rows.jsonl, features/, images/   (any crash: go on)
rows -> means.csv, gains.csv, rows.csv, figure.png, .svg, table
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from channel.medium import read_trace
from simulator.errors import DiffJsccError, SettingsError, path_from
from simulator.evaluation.costs import Spent, spent_by, write_costs
from simulator.evaluation.engine import (
    Engine,
    LocalEngine,
    Outcome,
    SweepWorker,
    load_pixels,
)
from simulator.evaluation.experiment import Experiment, with_draws
from simulator.evaluation.jobs import (
    GPU_BATCH,
    Chunk,
    Source,
    chunks_of,
    digest,
    find_sources,
    suppliers,
    undone,
)
from simulator.evaluation.means import (
    Gain,
    Means,
    gains_of,
    group_rows,
    lines_of,
    write_gains,
    write_means,
    write_rows,
)
from simulator.evaluation.scoring import Scoring
from simulator.evaluation.store import Store, draws_of, open_store, slug
from simulator.evaluation.time_left import TimeLeft
from simulator.jscc.folder import read_codec_folder
from simulator.jscc.oranet import digest_of
from simulator.link.clock import monotonic
from simulator.link.rows import Row
from simulator.methods.draws import Draws
from simulator.methods.method import Place
from simulator.methods.registry import parse_spec
from simulator.metrics.interval import Estimate
from simulator.metrics.known import metric_of
from simulator.metrics.metric import SetMetric
from simulator.models.folder import INDEX, find_model, fingerprint
from simulator.plugins import load_plugins
from simulator.process import pick_device
from simulator.runfolder import provenance

Sets = dict[tuple[str, Place], dict[str, Estimate]]


@dataclass(frozen=True)
class Description:
    """What an engine's workers have. ``lost``: methods that they cannot have, and why;
    ``unavailable``: the same of metrics. ``beside``: of methods that send two images at once."""

    also: Mapping[str, tuple[str, ...]]
    beside: Mapping[str, int]
    lost: Mapping[str, DiffJsccError]
    unavailable: Mapping[str, str]
    device: str


def describe(worker: SweepWorker, device: str) -> Description:
    also = {name: method.also for name, method in worker.methods.items()}
    beside = {name: method.beside for name, method in worker.methods.items() if method.beside}
    return Description(also, beside, worker.lost, worker.scoring.unavailable, device)


#: ``(experiment, device, images)``: an engine for a number of images, and what it has.
MakeEngine = Callable[[Experiment, str, int], tuple[Engine, Description]]


def local_engine(experiment: Experiment, device: str, images: int) -> tuple[Engine, Description]:
    """One worker, in this process."""
    worker = SweepWorker(experiment, device)
    return LocalEngine(worker), describe(worker, device)


#: ``(done, total, what is left)``, results; and a sentence now and then.
OnProgress = Callable[[int, int, str], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Swept:
    """What a finished sweep has found."""

    experiment: Experiment
    rows: list[Row]
    lines: list[Means]
    gains: list[Gain]
    unavailable: Mapping[str, str]
    refused: dict[str, int]  # reasons, and how often
    spent: Sequence[Spent] = ()  # by codecs, where the experiment asks for it


def run_sweep(
    experiment: Experiment,
    out: Path,
    make_engine: MakeEngine,
    skip_missing: bool = False,
    on_progress: OnProgress = lambda done, total, left: None,
    say: Say = lambda text: None,
) -> Swept:
    """Whatever of the experiment is not in ``out`` yet, then everything that is made from rows.

    Raises ``SettingsError``, ``ImageError``, ``ModelError``, ``MissingPackageError``,
    ``StorageError``.
    """
    load_plugins(experiment.plugins)
    for key in experiment.metrics:
        metric_of(key)  # an unknown name is refused before anything is loaded
    Draws(experiment.channel)  # so is a channel
    experiment = with_draws(experiment, draws_of(out))
    sources = find_sources(experiment)
    device = pick_device(experiment.device)
    engine, described = make_engine(experiment, device, len(sources))
    with closing(engine):
        experiment = without_lost(experiment, described, skip_missing, say)
        for key, reason in described.unavailable.items():
            say(f"{metric_of(key).label} is unavailable: {reason}")
        asked = suppliers(experiment.methods, described.also)
        batch = experiment.batch or (1 if device == "cpu" else GPU_BATCH)
        chunks = chunks_of(experiment, sources, asked, batch, described.beside)
        decides = experiment.decides() | inputs(experiment, sources, device, batch)
        tree = description(experiment, described)
        with open_store(out, tree, decides) as store:
            work(engine, store, chunks, sources, experiment.pictures, on_progress)
            return finish(experiment, store, chunks, sources, described, on_progress)


def without_lost(
    experiment: Experiment, described: Description, skip_missing: bool, say: Say
) -> Experiment:
    """The experiment with methods that this machine has. Raises the error of the first that
    it lacks, unless those may be skipped."""
    if not described.lost:
        return experiment
    names: dict[str, list[str]] = {}
    for name, error in described.lost.items():
        names.setdefault(str(error).rstrip("."), []).append(name)
    told = "; ".join(f"{', '.join(each)}: {reason}" for reason, each in names.items())
    kept = [name for name in experiment.methods if name not in described.lost]
    if not skip_missing or not kept:
        kind = type(next(iter(described.lost.values())))
        raise kind(
            f"{len(described.lost)} of {len(experiment.methods)} methods cannot run here "
            f"({told}); add --skip-missing to leave them out."
        )
    say(f"left out: {told}")
    labels = {name: label for name, label in experiment.labels.items() if name in kept}
    return experiment.model_copy(update={"methods": kept, "labels": labels})


def inputs(
    experiment: Experiment, sources: Sequence[Source], device: str, batch: int
) -> dict[str, Any]:
    """Names of everything outside the settings that rows depend on."""
    codec = read_codec_folder(experiment.codec or experiment.model)
    controlled = any("target_psnr" in parse_spec(name).options for name in experiment.methods)
    plugins = [
        hashlib.sha256(path_from(p).read_bytes()).hexdigest()[:16] for p in experiment.plugins
    ]
    return {
        "image_count": len(sources),
        "images_sha256": digest(sources),
        "codec_fingerprint": codec.fingerprint,
        **({"oranet_sha256": digest_of(codec)} if controlled else {}),
        "model_fingerprint": model_fingerprint(experiment.model),
        "plugins_sha256": plugins,
        "device": device,
        "batch": batch,
        "channel.snr_trace": read_trace(trace) if (trace := experiment.channel.snr_trace) else [],
    }


def model_fingerprint(model: str) -> str:
    """Empty for a codec folder, of which nothing can be refined."""
    path = find_model(model)
    return fingerprint(model, path) if (path / INDEX).is_file() else ""


def description(experiment: Experiment, described: Description) -> dict[str, Any]:
    """``sweep.toml`` of a new folder."""
    codec = read_codec_folder(experiment.codec or experiment.model)
    return {
        "name": experiment.title,
        "metrics": {key: metric_of(key).record() for key in experiment.metrics},
        "settings": experiment.model_dump(),
        "provenance": provenance(codec)
        | ({"model": model} if (model := model_fingerprint(experiment.model)) else {})
        | {"device": described.device},
        "unavailable": dict(described.unavailable),
        "left_out": {name: str(error) for name, error in described.lost.items()},
    }


def work(
    engine: Engine,
    store: Store,
    chunks: Sequence[Chunk],
    sources: Sequence[Source],
    pictures: int,
    on_progress: OnProgress,
) -> None:
    """Every chunk that has a row missing, until none has."""
    for source in sources[:pictures]:
        pixels = load_pixels(source)
        if not isinstance(pixels, str):
            store.save_picture("original", source.kept_stem, pixels)
    todo = undone(chunks, store.rows)
    total = sum(len(chunk.keys) for chunk in chunks)
    left = Counter((chunk.method, point) for chunk in todo for point in chunk.points)
    time_left = TimeLeft(left, monotonic())
    on_progress(len(store.rows), total, time_left.text(monotonic()))
    for done in engine.run(todo):
        rows = [keep(store, done.chunk, outcome, pictures) for outcome in done.outcomes]
        store.append(rows)
        time_left.add(done)
        on_progress(len(store.rows), total, time_left.text(monotonic()))


def keep(store: Store, chunk: Chunk, outcome: Outcome, pictures: int) -> Row:
    """A result's files, before its row, which names them."""
    row = dict(outcome.row)
    if outcome.features is None or outcome.pixels is None:
        return row
    name = chunk.file_name(outcome.point)
    store.save_features(f"{slug(outcome.name)}/{name}", outcome.features)
    if chunk.source.index < pictures and chunk.repeat == 0:
        row["file"] = store.save_picture(outcome.name, name, outcome.pixels)
    return row


def finish(
    experiment: Experiment,
    store: Store,
    chunks: Sequence[Chunk],
    sources: Sequence[Source],
    described: Description,
    on_progress: OnProgress,
) -> Swept:
    """Tables and plots from the rows of these chunks, in the order of the configuration."""
    from simulator.evaluation.plots import draw

    names = {method: rank for rank, method in enumerate(experiment.methods)}
    keyed = {
        key: (chunk.source.index, chunk.repeat, rank)
        for chunk in chunks
        for rank, key in enumerate(chunk.keys)
    }
    points = {point.place: rank for rank, point in enumerate(experiment.points)}
    ordered = sorted(keyed, key=lambda key: (names[key[0]], points[key[1:4]], keyed[key]))
    rows = [store.rows[key] for key in ordered]
    undefined = dict(described.unavailable)
    sets = sets_of(experiment, store, chunks, sources, described, on_progress, undefined)
    metrics = [key for key in experiment.metrics if key not in described.unavailable]
    lines = lines_of(rows, metrics, sets)
    previews = {method: also[0] for method, also in described.also.items() if also}
    gains = gains_of(lines, previews)
    write_rows(rows, store.folder / "rows.csv")
    write_means(lines, metrics, store.folder / "means.csv")
    write_gains(gains, store.folder / "gains.csv")
    draw(experiment, lines, metrics, store.folder / "figure")
    spent = spent_by(experiment, sources, on_progress) if experiment.costs else []
    write_costs(spent, store.folder / "costs.csv")
    unsent = {row["image"] for row in rows} - {
        row["image"] for row in rows if row["status"] == "delivered"
    }
    refused = Counter(
        row["reason"]
        if row["image"] in unsent
        else f"{row['label']} at {row['channel']} {row['cbr']}: {row['reason']}"
        for row in rows
        if row["status"] == "refused"
    )
    return Swept(experiment, rows, lines, gains, undefined, dict(refused), spent)


def sets_of(
    experiment: Experiment,
    store: Store,
    chunks: Sequence[Chunk],
    sources: Sequence[Source],
    described: Description,
    on_progress: OnProgress,
    undefined: dict[str, str],
) -> Sets:
    """Values of set metrics by method and point; ``undefined``: why others are not there."""
    metrics = [key for key in experiment.metrics if key not in described.unavailable]
    ours = [metric for key in metrics if isinstance(metric := metric_of(key), SetMetric)]
    if not ours:
        return {}
    features_of_originals(experiment, store, sources, described.device, ours, on_progress)
    file_of = {
        chunk.key(name, point): f"{slug(name)}/{chunk.file_name(point)}"
        for chunk in chunks
        for point in chunk.points
        for name in chunk.names
    }
    by_name = {source.name: source for source in sources}
    groups: dict[tuple[str, Place], list[Row]] = group_rows(
        store.rows[key] for key in file_of if store.rows[key]["status"] == "delivered"
    )
    sets: Sets = {}
    for done, (group, rows) in enumerate(groups.items(), 1):
        seen: dict[str, list[str]] = {}
        for row in rows:
            file = file_of[group[0], *group[1], row["image"], row["repeat"]]
            seen.setdefault(original_name(by_name[row["image"]]), []).append(file)
        for metric in ours:
            try:
                sets.setdefault(group, {})[metric.key] = estimate_of(metric, seen, store)
            except SettingsError as error:  # such as masks that none of these images has
                undefined[metric.key] = str(error)
        on_progress(done, len(groups), "comparing sets")
    return sets


def estimate_of(metric: SetMetric, seen: Mapping[str, Sequence[str]], store: Store) -> Estimate:
    """``seen``: names of the features of each original, and of what arrived of it.

    Resamples take a while: the estimate is kept beside the features that it is of.
    """
    assert metric.compare is not None
    kept = store.estimate(metric.key, seen)
    if kept is None:
        load = partial(store.features, metric=metric.features)
        sent = [load(name) for name in seen]
        arrived = [[load(name) for name in names] for names in seen.values()]
        kept = metric.compare(sent, arrived, np.random.default_rng(0))
        store.save_estimate(metric.key, seen, kept)
    return kept


def original_name(source: Source) -> str:
    return f"original/{source.sha256.hex()[:24]}"


def features_of_originals(
    experiment: Experiment,
    store: Store,
    sources: Sequence[Source],
    device: str,
    metrics: Sequence[SetMetric],
    on_progress: OnProgress,
) -> None:
    """Computed once, and kept beside the others."""
    keys = list(dict.fromkeys(metric.features for metric in metrics))
    lost = [
        source
        for source in sources
        if any(not store.has_features(original_name(source), key) for key in keys)
    ]
    if not lost:
        return
    scoring = Scoring([metric.key for metric in metrics], experiment.setup(device))
    for done, source in enumerate(lost, 1):
        pixels = load_pixels(source)
        if not isinstance(pixels, str):
            store.save_features(original_name(source), scoring.features(pixels, source.path))
        on_progress(done, len(lost), "features of originals")
