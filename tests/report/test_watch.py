"""The live page: it follows the run, shows what is there, and serves nothing else."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from helpers import sentence, wait_for
from report_world import HOSTILE, Parsed, delivered, made
from watch_world import Answer, begun, store, watching

import simulator.watch.app as app
import simulator.watch.serving as serving
from simulator.errors import AddressError, MissingPackageError, SettingsError
from simulator.png import save_png
from simulator.report.results import write_results
from simulator.report.watch import LivePage
from simulator.watch.folders import RunFolders
from simulator.watch.frames import KEPT, Frames
from simulator.watch.serving import Watch


def test_frames_are_shown_as_they_get_their_rows(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "run")
    with watching([tmp_path / "run"]) as page:
        events = Answer(page, "/events")
        assert events.headers["content-type"].startswith("text/event-stream")
        first = events.event()[1]
        assert first["anew"] and first["frames"] == [] and not first["finished"]
        store(ledger, delivered(0, caption=HOSTILE))
        told = events.until(lambda told: told["frames"])
        (frame,) = told["frames"]
        assert frame["key"] == f"{0:032x}" and frame["caption"] == HOSTILE and not told["anew"]
        assert told["counts"] == {"delivered": 1}
        store(ledger, delivered(1), delivered(2, status="dropped", reason="a newer one came"))
        told = events.until(lambda told: sum(told["counts"].values()) == 3)
        assert [frame["status"] for frame in told["frames"]] == ["delivered", "dropped"]
        (tmp_path / "run" / "logs").mkdir()
        (tmp_path / "run" / "logs" / "rx.log").write_text("2026 rx INFO ready for frames\n")
        (tmp_path / "run" / "summary.json").write_text('{"frames": 3}')
        told = events.until(lambda told: told["finished"] and told["says"])
        assert told["says"] == {"rx": "ready for frames"}
        store(ledger, delivered(3))  # the run goes on: its summary is an old one
        assert not events.until(lambda told: told["frames"])["finished"]
    ledger.close()


def test_a_page_that_comes_back_gets_what_it_has_missed(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "run")
    store(ledger, delivered(0), delivered(1))
    with watching([tmp_path / "run"]) as page:
        events = Answer(page, "/events")
        events.until(lambda told: told["frames"])
        store(ledger, delivered(2))
        last, told = events.event()
        while not told["frames"]:
            last, told = events.event()
        store(ledger, delivered(3))
        again = Answer(page, "/events", **{"Last-Event-ID": last})
        told = again.until(lambda told: told["frames"])
        assert not told["anew"] and [f["key"] for f in told["frames"]] == [f"{3:032x}"]
        # The page of a server that was started again begins anew.
        for strange in ("12.000 3", "nonsense", f"{last.split()[0]} 99999999999999999999"):
            told = Answer(page, "/events", **{"Last-Event-ID": strange}).event()[1]
            assert told["anew"] and len(told["frames"]) == 4
    ledger.close()


def test_a_long_run_is_a_window_and_a_count(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "run")
    store(ledger, *(delivered(i) for i in range(KEPT + 50)))
    store(ledger, delivered(9000, status="refused", reason="no image"))
    frames = Frames([tmp_path / "run"])
    frames.look()
    assert frames.state.counts == {"delivered": KEPT + 50, "refused": 1}
    assert len(frames.after(0)) == KEPT and frames.after(0)[-1].row["status"] == "refused"
    store(ledger, *(delivered(i) for i in range(1000, 1030)))
    frames.look()
    assert len(frames.after(0)) == KEPT and frames.after(0)[-1].key == f"{1029:032x}"
    assert sum(frames.state.counts.values()) == KEPT + 81
    assert [frame.seq for frame in frames.after(KEPT)] == list(range(KEPT + 1, KEPT + 31))
    ledger.announce(5000, bytes(16), "{}", None)
    frames.look()
    assert frames.state.waiting == 1
    ledger.close()
    for file in (tmp_path / "run").glob("tx.db*"):
        file.unlink()
    frames.look()  # what is gone is not an error of the page
    assert len(frames.after(0)) == KEPT


def test_results_without_a_ledger_are_shown_too(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [delivered(0), delivered(1)])
    frames = Frames([folder, tmp_path / "not-yet"])
    frames.look()
    frames.look()
    assert [frame.key for frame in frames.after(0)] == [f"{i:032x}" for i in range(2)]
    assert frames.state.counts == {"delivered": 2}


def test_pictures_are_those_of_frames_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ledger = begun(folder)
    (folder / "images").mkdir()
    save_png(np.full((40, 300, 3), 90, np.uint8), folder / "images" / "p.png")
    (tmp_path / "secret.png").write_bytes((folder / "images" / "p.png").read_bytes())
    (folder / "images" / "broken.png").write_bytes(b"no picture")
    files = {0: "images/p.png", 1: "../secret.png", 2: str(tmp_path / "secret.png"),
             3: "images/broken.png", 4: "images/gone.png"}  # fmt: skip
    store(ledger, *(delivered(i, preview_file=name, image="\0") for i, name in files.items()))
    with watching([folder]) as page:
        Answer(page, "/events").until(lambda told: told["frames"])
        shown = Answer(page, f"/picture/{0:032x}/preview")
        data = shown.body
        assert (shown.status, shown.headers["content-type"]) == (200, "image/webp")
        small = Answer(page, f"/picture/{0:032x}/preview?size=small").body
        assert data[8:12] == b"WEBP" and len(small) < len(data)
        for path in (
            *(f"/picture/{i:032x}/preview" for i in (1, 2, 3, 4, 5)),
            *(f"/picture/{0:032x}/{stage}" for stage in ("sent", "refined", "run.toml")),
            f"/picture/{0:032x}/preview?size=huge",
            "/picture/..%2f..%2fsecret.png/preview", "/../secret.png", "/run.toml", "/etc/passwd",
            "/watch.html", "/picture/x",
        ):  # fmt: skip
            assert Answer(page, path).status == 404, path
        assert Answer(page, "/symbols/nothing").status == 404
        told = json.loads(Answer(page, f"/symbols/{0:032x}").body)
        assert set(told) == {"why"}  # no settings of a run are here
    ledger.close()


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    with watching([made(tmp_path / "run", [])]) as page:
        html = Answer(page, "/")
        policy, text = html.headers["content-security-policy"], html.body.decode()
        assert "default-src 'none'" in policy and "unsafe" not in policy
        Parsed(text)
        assert "http" not in text and "style=" not in text and "onclick=" not in text
        for name in ("watch.css", "watch.js"):
            part = Answer(page, f"/{name}")
            assert part.status == 200 and b"http://" not in part.body.replace(
                b"http://www.w3.org/2000/svg", b""
            )
            assert name in text
        assert b"innerHTML" not in Answer(page, "/watch.js").body
        assert Answer(page, "/favicon.ico").status == 204


def test_the_whole_report_is_behind_the_page(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [delivered(0)])
    with watching([folder]) as page:
        first = Answer(page, "/report").body.decode()
        assert (
            Answer(page, "/version").body.decode() == Parsed(first).all("html")[0]["data-version"]
        )
        assert len(Parsed(first).rows("run")) == 1


def test_a_report_is_made_again_when_the_run_has_gone_on(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [delivered(0)])
    now = [0.0]
    live = LivePage([folder], lambda: now[0])
    first = live.page()
    write_results(folder, [delivered(0), delivered(1)])
    assert live.page() == first  # not made again all the time
    now[0] += 5
    assert len(Parsed(live.page()).rows("run")) == 2
    (folder / "results.jsonl").write_text("{")
    now[0] += 5
    assert "is damaged" in live.page()


def test_who_may_look(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [])
    with watching([folder]) as page:
        assert Answer(page, "/", Host="evil.example:80").status == 403
        assert Answer(page, "/events", Origin="http://evil.example").status == 403
        told = Answer(page, "/events").event()[1]
        assert page.refused == {"host": 1, "origin": 1} and told["refused"] == 2
    with watching([folder], "127.0.0.1:0", token="s3cret") as page:
        for path in ("/", "/events", "/report", f"/picture/{0:032x}/preview", "/?token=wrong"):
            answer = Answer(page, path)
            assert answer.status == 401 and b"token" in answer.body, path
        come_in = Answer(page, "/?token=s3cret&x=1")
        assert (come_in.status, come_in.headers["location"]) == (303, "/?x=1")
        cookie = come_in.headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
        assert Answer(page, "/", Cookie=cookie.partition(";")[0]).status == 200
        assert Answer(page, "/", Authorization="Bearer s3cret").status == 200


def test_connections_that_bring_no_request_end_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = app.Limits(headers_s=0.3, connections=3)
    monkeypatch.setattr(app, "Limits", lambda: few)
    with watching([made(tmp_path / "run", [])]) as page:
        port = int(page.url.rstrip("/").rpartition(":")[2])
        slow = socket.create_connection(("127.0.0.1", port), 30)
        slow.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
        again = Answer(page, "/watch.css")  # a connection that is kept for a second request
        assert again.status == 200 and again.body
        again.connection.sock.sendall(b"GET")
        assert again.connection.sock.recv(100).startswith(b"HTTP/1.1 408 ")
        garbage = socket.create_connection(("127.0.0.1", port), 30)
        garbage.sendall(b"\0\1\2\r\n\r\n")
        assert garbage.recv(100).startswith(b"HTTP/1.1 400 ")
        many = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(4)]
        wait_for(lambda: page.refused.get("connections"))
        assert page.refused["http"] == 1 and page.refused["slow"] >= 2
        for connection in (slow, garbage, *many):
            connection.close()


def test_mistakes_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "run", [])
    source = RunFolders([folder])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match="the live page cannot be opened") as error:
            Watch(source, f"127.0.0.1:{port}")
        sentence(error)
    with pytest.raises(AddressError, match="has no token"):
        Watch(source, "0.0.0.0:0")
    with pytest.raises(SettingsError) as gone:
        RunFolders([tmp_path / "gone"])
    sentence(gone)
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"diffjscc\[live\]") as missing:
        Watch(source, "127.0.0.1:0")
    sentence(missing)


def test_streams_end_with_the_page_and_are_not_too_many(tmp_path: Path) -> None:
    with watching([made(tmp_path / "run", [])]) as page:
        streams = [Answer(page, "/events") for _ in range(16)]
        for stream in streams:
            stream.event()
        assert Answer(page, "/events").status == 503
        streams.pop().connection.close()
        wait_for(lambda: Answer(page, "/events").status == 200)
