"""The live page follows the run, and serves nothing else."""

import urllib.error
import urllib.request
from pathlib import Path
from threading import Thread

import pytest
from report_world import Parsed, delivered, made

from simulator.errors import AddressError, DiffJsccError
from simulator.report.results import write_results
from simulator.report.watch import LivePage, make_server, watch


def get(port: int, path: str, host: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def test_a_live_page_follows_the_run(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [delivered(0)])
    now = [0.0]
    live = LivePage([folder], lambda: now[0])
    with make_server(live, 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.server_port
            first = get(port, "/")[1]
            assert get(port, "/version")[1] == Parsed(first).all("html")[0]["data-version"]
            assert len(Parsed(first).rows("run")) == 1
            write_results(folder, [delivered(0), delivered(1)])
            assert get(port, "/version")[1] != Parsed(first).all("html")[0]["data-version"]
            assert get(port, "/")[1] == first  # not made again all the time
            now[0] += 5
            assert len(Parsed(get(port, "/")[1]).rows("run")) == 2
            (folder / "results.jsonl").write_text("{")
            now[0] += 5
            assert "is damaged" in get(port, "/")[1]
            assert get(port, "/etc/passwd")[0] == get(port, "/", host="evil.example:80")[0] == 404
            with pytest.raises(AddressError, match=f"port {port} cannot be used"):
                watch([made(tmp_path / "other", [])], port)
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(DiffJsccError):
        watch([tmp_path / "gone"], 0)
