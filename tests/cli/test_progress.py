"""Progress without a terminal is a line now and then."""


def test_progress_without_a_terminal_is_lines_now_and_then() -> None:
    from io import StringIO

    from rich.console import Console

    from simulator.cli.progress import PlainLines

    text = StringIO()
    lines = PlainLines(Console(file=text), pause_s=0.0)
    lines.say("sending 1/2")
    patient = PlainLines(Console(file=text), pause_s=1e9)
    patient.say("not yet")
    terminal = PlainLines(Console(file=text, force_terminal=True), pause_s=0.0)
    terminal.say("the bar is there")
    assert text.getvalue() == "sending 1/2\n"
