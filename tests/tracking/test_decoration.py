"""What a run may go without."""

import pytest
from matplotlib.figure import Figure

from pipeline.tracking.decoration import may_fail, reason
from pipeline.tracking.runs import tracked_run


def test_a_picture_that_fails_is_one_line_and_the_run_is_finished(uri, tmp_path, capfd):
    figure = Figure()
    figure.suptitle("a class called $\\x$")  # matplotlib takes it for a formula that it cannot read
    with tracked_run(uri, "pictures", "a", artifacts=str(tmp_path / "artifacts")) as run:
        with may_fail(run, "curves.png"):
            run.log_figure("curves.png", figure)
        run.log_text("after.txt", "")
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "curves.png" in line]
    assert line.startswith("warning: curves.png is left out, the run goes on without it: ValueError: ")
    assert [item.path for item in run.client.list_artifacts(run.run_id)] == ["after.txt"]
    assert run.client.get_run(run.run_id).info.status == "FINISHED"


def test_an_interrupt_is_no_matter_of_a_picture(uri):
    with pytest.raises(KeyboardInterrupt), tracked_run(uri, "e", "a") as run, may_fail(run, "curves.png"):
        raise KeyboardInterrupt
    assert run.client.get_run(run.run_id).info.status == "KILLED"


def test_the_reason_is_the_last_line_of_a_long_error():
    assert reason(ValueError("first\n\n  last  \n")) == "ValueError: last"
    assert reason(ValueError()) == "ValueError"
    of_sqlalchemy = "no such column: x\n[SQL: SELECT x]\n[parameters: ()]\n(Background on this error at: https://s.e)"
    assert reason(ValueError(of_sqlalchemy)) == "ValueError: no such column: x"
