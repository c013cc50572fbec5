"""The report shows a sweep, alone and beside a run."""

import json
import shutil
from pathlib import Path

import pytest
from report_world import delivered, grey, made, parsed, sweep_folder

from simulator.errors import SettingsError


def test_a_sweep(tmp_path: Path) -> None:
    found = parsed([sweep_folder(tmp_path / "sweep")])
    rows = found.rows("sweep")
    lines = (tmp_path / "sweep" / "rows.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    told = [row | {"label": row["method"]} for row in told]
    assert rows == [{key: row[key] for key in rows[0]} for row in told]
    assert "digital: 6 outages in 12 frames." in found.words
    assert "bound" in found.words and "22.00 ± 2.48" in found.words
    curves_drawn = [a for a in found.all("svg") if a.get("role") == "img"]
    assert len(curves_drawn) == 4 * 4  # two ratios and two SNRs; three metrics and outages
    assert "Latency" not in found.words and "Constellation" not in found.words


def test_distances_of_sets_stand_beside_the_means(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [delivered(0), delivered(1)])
    (entry,) = json.loads((run / "summary.json").read_text())["points"]
    summary = {"points": [entry | {"fd_effnet_preview": 123.45, "fd_effnet_preview_ci95": 6.78,
                           "fd_effnet_refined": None, "miou_preview": 0.321}]}  # fmt: skip
    (run / "summary.json").write_text(json.dumps(summary))
    sweep = sweep_folder(tmp_path / "sweep")
    (sweep / "means.csv").write_text(
        "method,channel,cbr,snr_db,psnr,fid,fid_ci95\n"
        "digital,awgn,1/384,1.0,20,77.7,8.9\nbound,awgn,x,,,-,\n"
    )
    found = parsed([run, sweep])
    for words in ("FD-EffNet", "123.5 ± 6.8", "77.7 ± 8.9", "mIoU", "0.321"):
        assert words in found.words
    assert "123.5" not in parsed([run, shutil.copytree(run, tmp_path / "again")]).words
    (run / "summary.json").write_text('{"points": [3]}')
    with pytest.raises(SettingsError, match=r"summary\.json is damaged"):
        parsed([run])


def test_a_sweep_beside_a_run_shows_its_pictures_there(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [delivered(0, preview_file="images/a.png", image="/x/p0.png")])
    grey(folder / "images" / "a.png")
    found = parsed([folder, sweep_folder(tmp_path / "sweep")], images=1)
    labels = [button["data-label"] for button in found.all("button")]
    assert labels[:3] == [
        "preview, awgn, 1/384, 10 dB", "digital, awgn, 1/384, 10 dB", "bound, awgn, 1/384, 10 dB"
    ]  # fmt: skip
    assert {button["data-group"] for button in found.all("button")} == {"image-0"}
    assert "1 of 3 images are shown" in found.words and "--images 3 shows all" in found.words
