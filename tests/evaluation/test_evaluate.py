"""``diffjscc evaluate`` with all that can be measured, on a run folder made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from tiny_hub import build_tiny_clip, build_tiny_segformer
from typer.testing import CliRunner

from simulator.cli.main import app, guarded
from simulator.errors import ModelError, SettingsError, StorageError
from simulator.evaluation.arrays import OnProgress, on_cores
from simulator.evaluation.evaluate import Evaluation, Wanted, evaluate
from simulator.evaluation.line import Line
from simulator.evaluation.tables import markdown, tables
from simulator.images import file_sha256
from simulator.link.rows import make_row
from simulator.metrics import inception, metric
from simulator.metrics.captions import f1
from simulator.metrics.clip import Clip
from simulator.metrics.interval import Estimate
from simulator.metrics.segmentation import Segmenter, count, miou
from simulator.png import save_png
from simulator.report.results import write_results

CAPTIONS = {"photo0": "a red boat", "photo1": "two dogs", "photo2": "a house"}
HEARD = {"photo0": "a boat", "photo1": "two dogs", "photo2": "sky"}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without Inception weights."""
    monkeypatch.delenv("DIFFJSCC_INCEPTION", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three images, two repeats, one point; previews and refined images."""
    folder, rows = tmp_path / "run", []
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        source = tmp_path / f"photo{i}.png"
        save_png(pixels, source)
        original = folder / "images" / "original"
        original.mkdir(parents=True, exist_ok=True)
        save_png(pixels, original / f"photo{i}-{file_sha256(source).hex()[:8]}.png")
        for repeat in range(2):
            row: dict[str, Any] = {
                "run": "run", "status": "delivered", "image": str(source), "repeat": repeat,
                "channel": "awgn", "cbr": "1/384", "snr_db": 1.0, "caption": HEARD[source.stem],
                "frame_id": f"{len(rows):032x}", "psnr_preview": 20.0 + i + repeat,
                "psnr_refined": 19.0,
            }  # fmt: skip
            for stage, step in (("preview", 64), ("refined", 16)):
                name = f"images/{stage}{i}{repeat}.png"
                save_png(pixels // step * step + np.uint8(repeat), folder / name)
                row[f"{stage}_file"] = name
            rows.append(make_row(**row))
    write_results(folder, rows)
    (folder / "run.toml").write_text('[rx]\ncaptioner = "keywords"\n')
    (tmp_path / "captions.json").write_text(json.dumps(CAPTIONS))
    return folder


def line_of(evaluation: Evaluation, stage: str) -> Line:
    (found,) = [line for line in evaluation.lines if line.stage == stage]
    return found


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_repeats_are_no_images(run: Path) -> None:
    line = line_of(evaluate(run), "preview")
    assert (line.images, line.sent) == (3, 6)
    psnr = line.metrics["psnr"]
    assert psnr.value == pytest.approx(21.5)
    # Means 20.5, 21.5, 22.5: s = 1, t = 4.3027 of 3 images.
    assert psnr.margin == pytest.approx(4.3027 / 3**0.5, abs=1e-3)
    refined = line_of(evaluate(run), "refined").metrics["psnr"]
    assert (refined.low, refined.value, refined.high) == (19, 19, 19)


def test_clip_scores_and_agreement(run: Path, tmp_path: Path) -> None:
    clip = Clip(str(build_tiny_clip(tmp_path / "clip")))
    wanted = Wanted(clip=str(tmp_path / "clip"), captions=f"given:{tmp_path / 'captions.json'}")
    evaluation = evaluate(run, wanted)
    refined, preview = (line_of(evaluation, s).metrics for s in ("refined", "preview"))
    said = {name: clip.texts([text])[0] for name, text in HEARD.items()}
    meant = {name: clip.texts([text])[0] for name, text in CAPTIONS.items()}

    def cosines(pattern: str) -> list[float]:
        paths = sorted((run / "images").glob(pattern))
        names = [f"photo{path.stem[-2]}" for path in paths]
        return [
            float(said[n] @ clip.images([pixels_of(p)])[0])
            for n, p in zip(names, paths, strict=True)
        ]

    assert refined["clip_score"].value == pytest.approx(np.mean(cosines("refined*")))
    assert preview["clip_score"].value == pytest.approx(np.mean(cosines("preview*")))
    originals = [
        said[path.stem[:6]] @ clip.images([pixels_of(path)])[0]
        for path in (run / "images" / "original").iterdir()
    ]
    assert refined["clip_score_original"].value == pytest.approx(np.mean(originals))
    texts = [said[name] @ meant[name] for name in CAPTIONS]
    assert refined["caption_clip"].value == pytest.approx(np.mean(texts))
    # 4 of 5 words, all, none.
    assert refined["caption_f1"].value == pytest.approx((0.8 + 1 + 0) / 3)
    assert refined["caption_jaccard"].value == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert "caption_f1" not in preview and "clip_score_original" not in preview


def test_a_run_without_captions_has_no_agreement(run: Path, tmp_path: Path) -> None:
    """A run without diffusion makes no captions, which is no disagreement."""
    lines = (run / "results.jsonl").read_text().splitlines()
    write_results(run, [json.loads(line) | {"caption": ""} for line in lines])
    evaluation = evaluate(run, Wanted(captions=f"given:{tmp_path / 'captions.json'}"))
    assert "caption_f1" not in line_of(evaluation, "refined").metrics
    assert evaluation.unavailable["caption agreement"] == "the run made no captions"


def test_the_captioner_of_the_run_is_asked_about_the_originals(run: Path) -> None:
    """Keywords, as ``run.toml`` says: of these captions none is a class of ImageNet's."""
    found = line_of(evaluate(run, Wanted(captions="run")), "refined").metrics["caption_f1"]
    by_name = line_of(evaluate(run, Wanted(captions="keywords")), "refined").metrics["caption_f1"]
    assert found == by_name
    assert found.value < f1("a boat", "a red boat")


def test_miou_against_masks_with_the_originals_as_ceiling(run: Path, tmp_path: Path) -> None:
    segmenter = Segmenter(str(build_tiny_segformer(tmp_path / "net")))
    masks = tmp_path / "masks"
    masks.mkdir()
    expected = np.zeros((3, 5), np.int64)
    for i in range(2):  # the third image has none
        labels = segmenter.predict(pixels_of(tmp_path / f"photo{i}.png"))
        labels[:8] = 255
        save = np.where(labels == 255, 0, labels + 1).astype(np.uint8)
        Image.fromarray(save).save(masks / f"photo{i}.png")
        for repeat in range(2):
            seen = segmenter.predict(pixels_of(run / "images" / f"preview{i}{repeat}.png"))
            expected += count(seen, labels, 5)
    wanted = Wanted(segmenter=str(tmp_path / "net"), masks=masks)
    evaluation = evaluate(run, wanted)
    preview = line_of(evaluation, "preview").metrics
    assert preview["miou_original"].value == 1
    assert preview["miou"].value == pytest.approx(miou(expected))
    assert 0 < preview["miou"].value < 1
    assert evaluate(run, wanted).lines == evaluation.lines  # from what was kept
    results = run / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    elsewhere = {**rows[-1], "cbr": "1/96", "frame_id": "f" * 32}  # at a point without a mask
    results.write_text("".join(json.dumps(row) + "\n" for row in (*rows, elsewhere)))
    (run / "summary.json").write_text(json.dumps({"points": []}))
    at = {(line.cbr, line.stage): line.metrics for line in evaluate(run, wanted).lines}
    assert at["1/384", "preview"]["miou"] == preview["miou"]
    assert "miou" not in at["1/96", "preview"]
    for mask in masks.iterdir():
        mask.unlink()
    with pytest.raises(SettingsError, match="no image of this run has a mask"):
        evaluate(run, wanted)


class Colours:
    """In Inception's place: mean and deviation of each colour."""

    name = "colours"

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1)


def test_fid_where_its_weights_are(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = evaluate(run)
    assert "diffjscc fetch inception" in without.unavailable["FID"]
    assert "fid" not in line_of(without, "preview").metrics
    assert "FID" not in evaluate(run, Wanted(fid=False)).unavailable
    with pytest.raises(ModelError, match="fetch inception"):
        evaluate(run, Wanted(fid=True))
    monkeypatch.setattr(inception, "load_inception", lambda device: Colours())
    labels = []

    @contextmanager
    def progress(label: str) -> Iterator[OnProgress]:
        labels.append(label)
        yield lambda done, total: None

    evaluation = evaluate(run, progress=progress)
    assert labels == ["FD-EffNet", "FID"]
    assert "FID" not in evaluation.unavailable
    assert line_of(evaluation, "preview").metrics["fid"].value > 0
    told = json.loads((run / "evaluation.json").read_text())
    assert told[0]["fid"] == line_of(evaluation, "preview").metrics["fid"].value
    assert json.loads((run / "summary.json").read_text())["points"][0]["fid_preview"] > 0


def test_a_further_metric_is_measured_and_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metric.register_metric("reddest", "reddest", lambda r, o: float(r.pixels[..., 0].max()))
    monkeypatch.setitem(metric.METRICS, "reddest", metric.METRICS["reddest"])  # gone afterwards
    evaluation = evaluate(run, Wanted(metrics=["reddest"]))
    paths = [sorted((run / "images").glob(f"preview{i}?.png")) for i in range(3)]
    expected = np.mean([[pixels_of(p)[..., 0].max() for p in image] for image in paths])
    assert line_of(evaluation, "preview").metrics["reddest"].value == expected
    assert json.loads((run / "evaluation.json").read_text())[0]["reddest"] == expected

    def fail(result: Any, original: Any) -> float:
        raise AssertionError("measured again")

    metric.register_metric("reddest", "reddest", fail)
    assert evaluate(run, Wanted(metrics=["reddest"])).lines == evaluation.lines
    with pytest.raises(SettingsError, match="no metric 'beauty'"):
        Wanted(metrics=["beauty"])
    with pytest.raises(SettingsError, match="--metric psnr: it is in the rows already"):
        Wanted(metrics=["psnr"])


def test_all_of_it_by_the_command_line(run: Path, tmp_path: Path) -> None:
    clip = str(build_tiny_clip(tmp_path / "clip"))
    arguments = ["evaluate", str(run), "--no-fid", "--clip", clip, "--captions", "keywords"]
    told = CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert "words F1" in told.output and "CLIP sent" in told.output and "…" not in told.output
    assert "not measured: mIoU: --segmenter" in told.output and "FID:" not in told.output


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--segmenter", "a/b"], 3, "mIoU needs both"),
        (["--segmenter", "a/b", "--masks", "/no/where"], 3, "no folder of masks /no/where"),
        (["--clip", "/no/where"], 4, "there is no folder /no/where"),
        (["--captions", "run"], 3, "cannot read"),  # this folder has no run.toml
    ],
)
def test_mistakes_are_one_sentence(
    run: Path, options: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "run.toml").unlink()
    arguments = ["evaluate", str(run), *options]
    assert guarded(lambda: app(arguments, standalone_mode=False)) == code
    out, error = capsys.readouterr()
    assert out == "" and words in error and error.startswith("error: ") and error.count("\n") == 1


# Tables


def test_any_number_of_metrics_fits_80_columns() -> None:
    names = ("psnr", "ms_ssim", "lpips", "fd_effnet", "fid", "clip_score", "clip_score_original",
             "caption_f1", "caption_clip", "miou", "miou_original")  # fmt: skip
    metrics = {name: Estimate(0.123, 0.023) for name in names}
    metrics["fd_effnet"] = Estimate(1234.5, 134.5)
    lines = [Line("rayleigh", "1/384", -5.5, "refined", 1, 2000, 0, metrics)]
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        for drawn in tables(lines):
            console.print(drawn)
    text = capture.get()
    assert "…" not in text and text.count("1234.5 ±134.5") == 1
    assert text.count("rayleigh") == len(tables(lines)) > 1
    head, rule, line = markdown(lines).splitlines()
    assert head.count("|") == rule.count("|") == line.count("|") == 1 + 5 + 2 * 11


def test_no_lines_are_no_table() -> None:
    assert markdown([]).count("\n") == 2
    (empty,) = tables([])
    assert empty.row_count == 0


# Several at once


def test_order_is_kept_and_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    assert list(on_cores(lambda n: n * n, range(20))) == [n * n for n in range(20)]
    assert torch.get_num_threads() == before


def test_an_error_in_one_ends_all() -> None:
    def fail(n: int) -> int:
        if n == 3:
            raise ModelError("this one")
        return n

    with pytest.raises(ModelError, match="this one"):
        list(on_cores(fail, range(1000)))


@pytest.mark.parametrize("key", ["image", "cbr", "channel"])
def test_a_row_that_lacks_what_it_is_of_is_named(run: Path, key: str) -> None:
    path = run / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    del rows[1][key]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SettingsError, match=r"row 2 of .*results\.jsonl is damaged"):
        evaluate(run)


@pytest.mark.parametrize("line", ['{"image": ', "[]", "null", '"text"'])
def test_a_line_that_is_no_row_is_named(run: Path, line: str) -> None:
    with (run / "results.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(SettingsError, match=r"line \d+ of .* is damaged"):
        evaluate(run)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"points": 1}', '{"points": [{}]}', '{"points": [null]}', None]
)
def test_a_summary_that_cannot_be_written_again_is_known_first(run: Path, text: str | None) -> None:
    path = run / "summary.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(StorageError, match=r"summary\.json cannot be read .*--resume writes it"):
        evaluate(run)
    assert not (run / "features").exists()
