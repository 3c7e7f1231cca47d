"""Several trackers of one run: starting, failing and going on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework.tracking import STATE, TrackedRun, Trackers, flat, require_known, require_trackers
from tests.helpers.tracking import Other, Recorder, run_of

EPOCHS = [(epoch, {"loss/total": 1.0 / epoch}) for epoch in range(1, 6)]


def started(folder: Path | None, *trackers: Recorder, resuming: bool = False) -> Trackers:
    made = Trackers({type(x).__name__: x for x in trackers}, folder)
    made.start(run_of(folder), resuming=resuming)
    return made


def test_a_tracker_that_fails_is_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    failing, other = Recorder(fails=[2]), Other()
    trackers = started(None, failing, other)
    for epoch in EPOCHS[:4]:
        trackers.scalars([epoch])
    trackers.finish("finished")
    assert (failing.epochs, failing.status) == ([1], [])
    assert (other.epochs, other.status) == ([1, 2, 3, 4], ["finished"])
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "the tracker Recorder failed at epoch 2" in warning
    assert "the server is away" in warning


def test_a_tracker_that_cannot_start_is_refused_and_the_others_are_ended() -> None:
    other = Other()
    with pytest.raises(ValueError, match=r"Recorder cannot start: RuntimeError: no such project; leave Recorder out"):
        started(None, other, Recorder(fails=[0]))
    assert other.status == ["failed"]


@pytest.mark.parametrize("said", [None, {"id": 3}, {"id": Path("x")}])
def test_what_a_run_folder_cannot_keep_is_refused_before_the_training(said: object) -> None:
    class Own(Recorder):
        def start(self, run: TrackedRun) -> Mapping[str, str]:
            return said  # type: ignore[return-value]

    with pytest.raises(ValueError, match=r"Own cannot start: .*its start returned .* where texts such as"):
        started(None, Own())


def test_a_tracker_may_change_the_numbers_that_it_is_told() -> None:
    class Emptying(Recorder):
        def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
            dict.clear(values)  # type: ignore[arg-type]

    other = Other()
    started(None, Emptying(), other).scalars(EPOCHS[:1])
    assert other.values == {1: {"loss/total": 1.0}}


def test_a_known_tracker_that_cannot_start_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"wandb cannot start: .*log in by `wandb login`, set WANDB_MODE=offline"):
        Trackers({"wandb": Recorder(fails=[0])}, None).start(run_of(), resuming=False)


def test_a_run_that_goes_on_is_the_same_and_no_epoch_is_told_twice(tmp_path: Path) -> None:
    first, again = Recorder(), Recorder()
    trackers = started(tmp_path, first)
    trackers.scalars(EPOCHS[:2])
    trackers.finish("interrupted")
    trackers = started(tmp_path, again, resuming=True)
    trackers.scalars(EPOCHS)
    assert (again.runs[0].begun, again.runs[0].epochs) == ({"id": "first"}, 2)
    assert (first.epochs, again.epochs) == ([1, 2], [3, 4, 5])


def test_what_a_failed_tracker_lacks_it_is_told_when_the_run_goes_on(tmp_path: Path) -> None:
    trackers = started(tmp_path, Recorder(fails=[2]), Other())
    for epoch in EPOCHS[:3]:
        trackers.scalars([epoch])
    trackers.finish("finished")
    recorder, other = Recorder(), Other()
    started(tmp_path, recorder, other, resuming=True).scalars(EPOCHS)
    assert (recorder.epochs, other.epochs) == ([2, 3, 4, 5], [4, 5])


def test_a_new_run_in_a_folder_forgets_the_tracked_one(tmp_path: Path) -> None:
    started(tmp_path, Recorder()).scalars(EPOCHS[:2])
    new = Recorder()
    started(tmp_path, new).scalars(EPOCHS[:2])
    assert (new.runs[0].begun, new.runs[0].epochs, new.epochs) == ({}, 0, [1, 2])


@pytest.mark.parametrize(
    ("told", "status", "done"), [(5, "finished", True), (5, "failed", False), (4, "finished", False)]
)
def test_a_run_is_done_once_all_was_told_and_it_ended(tmp_path: Path, told: int, status: str, done: bool) -> None:
    trackers = started(tmp_path, Recorder())
    trackers.scalars(EPOCHS[:told])
    trackers.finish(status)
    assert Trackers({"Recorder": Recorder()}, tmp_path).done(5) is done
    assert not Trackers({"Recorder": Recorder(), "Other": Other()}, tmp_path).done(5)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / STATE).write_text('{"checksum": 1, "wandb": {}}')
    with pytest.raises(ValueError, match=r"trackers\.json: damaged"):
        started(tmp_path, Recorder(), resuming=True)


def test_a_state_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / STATE).mkdir()
    with caplog.at_level(logging.WARNING):
        started(tmp_path, Recorder()).scalars(EPOCHS[:1])
    assert "trackers.json cannot be written" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [(["wanb"], r"no tracker 'wanb'\. Did you mean 'wandb'\?"), (["mlflow", "mlflow"], "'mlflow' is named twice")],
)
def test_names_of_trackers_are_checked(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_known(names)


@pytest.mark.parametrize(
    ("trackers", "message"),
    [
        ("wandb", r"a list such as \['wandb'\] was expected"),
        ([3], "neither a known name nor a Tracker: it has no method start"),
        ([Recorder], "it is a class, not an object of it"),
        ([Recorder(), Recorder()], "two called 'Recorder'"),
        (["tensorbord"], "Did you mean 'tensorboard'"),
    ],
)
def test_what_is_no_tracker_is_refused(trackers: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_trackers(trackers)


@pytest.mark.parametrize("root", ["/home/me/llp", r"C:\Users\me\llp"])
def test_hyperparameters_name_no_folder_of_this_machine(root: str) -> None:
    values = {"data": {"root": root}, "made_of": {"anchor": {root: "1f"}}, "labels": {"sources": [{"path": root}]}}
    found = flat(values)
    assert found == {"data.root": "llp", "made_of.anchor.llp": "1f", "labels.sources": '[{"path": "llp"}]'}


PLAIN = st.none() | st.booleans() | st.integers() | st.text(alphabet="abc")


@given(st.dictionaries(st.text("xyz", min_size=1), st.dictionaries(st.text("xyz", min_size=1), PLAIN, min_size=1)))
def test_hyperparameters_keep_every_value_under_its_path(values: dict[str, dict[str, object]]) -> None:
    assert flat(values) == {f"{section}.{key}": x for section, of in values.items() for key, x in of.items()}
