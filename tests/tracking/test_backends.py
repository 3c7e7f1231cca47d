"""What each library keeps of a run, read back from its own files. Nothing leaves the machine."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from coleaf_framework.tracking import make_trackers
from tests.helpers.tracking import GROUP, run_of, told
from tests.helpers.wandb_file import records

pytest.importorskip("matplotlib", reason="needs the extra `plot`")


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    told("tensorboard", tmp_path)
    kept = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    kept.Reload()
    assert [(x.step, x.value) for x in kept.Scalars("loss/total")] == [(1, 1.0), (2, 0.5)]
    pictures = kept.Images("timeline/v0")
    assert [x.step for x in pictures] == [1, 2]
    assert pictures[0].encoded_image_string.startswith(b"\x89PNG")
    (table,) = kept.Tensors("validation/text_summary")
    assert b"| HAN, epoch 2 | 40.5 |" in table.tensor_proto.string_val[0]
    assert kept.Tensors("status/text_summary")[-1].tensor_proto.string_val[0] == b"finished"
    content = kept.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert HParamsPluginData.FromString(content).session_start_info.hparams["trainer.epochs"].number_value in (2, 3)


def test_tensorboard_without_a_run_folder_is_refused() -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    (tracker,) = make_trackers(["tensorboard"]).values()
    with pytest.raises(ValueError, match="pass out="):
        tracker.start(run_of(None))


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import, which starts it
    mlflow = pytest.importorskip("mlflow", reason="needs the extra `mlflow`")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from the environment")
    told("mlflow", tmp_path, project=None)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("from the environment")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.tags["group"]) == ("mine", "FINISHED", GROUP)
    assert [(x.step, x.value) for x in client.get_metric_history(run.info.run_id, "val/segment/Type-AVo")] == [
        (1, 10.0),
        (2, 20.0),
    ]
    assert (run.data.params["trainer.epochs"], run.data.tags["resumed.trainer.epochs"]) == ("2", "3")
    assert run.data.params["trainer.workers"] == "2"
    pictures = client.list_artifacts(run.info.run_id, "timeline/v0")
    assert [Path(x.path).name for x in pictures] == ["epoch-001.png", "epoch-002.png"]
    (table,) = tmp_path.glob("store/**/validation.csv")
    assert table.read_text().splitlines()[1] == '"HAN, epoch 2",40.5'


def test_mlflow_without_a_server_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("mlflow", reason="needs the extra `mlflow`")
    from coleaf_framework.tracking import Trackers

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://here")
    with pytest.raises(ValueError, match=r"mlflow cannot start: .*set MLFLOW_TRACKING_URI"):
        Trackers(make_trackers(["mlflow"]), None).start(run_of(), resuming=False)


def in_a_process(name: str, folder: Path, **environment: str) -> None:
    """Track in a process of its own: some libraries read their environment once, or leave processes behind."""
    code = f"from pathlib import Path; from tests.helpers.tracking import told; told({name!r}, Path({str(folder)!r}))"
    environment = {**os.environ, **environment}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""  # which belongs to the command


@pytest.mark.slow
def test_trackio(tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="needs the extra `trackio`")
    in_a_process("trackio", tmp_path, TRACKIO_DIR=str(tmp_path / "store"), HF_HUB_OFFLINE="1")
    (path,) = tmp_path.glob("store/*.db")
    with sqlite3.connect(path) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
        configs = database.execute("select config from configs").fetchall()
    assert {name.rpartition("-")[0] for name, _, _ in rows} == {"mine"}
    assert len({name for name, _, _ in rows}) == 1
    logged = [(step, json.loads(text)) for _, step, text in rows]
    assert [(step, x["loss/total"]) for step, x in logged if "loss/total" in x] == [(1, 1.0), (2, 0.5)]
    assert [x["status"] for _, x in logged if "status" in x] == ["interrupted", "finished"]
    (table,) = [x["validation"] for _, x in logged if "validation" in x]
    assert "HAN, epoch 2" in json.dumps(table)
    assert len(list(tmp_path.glob("store/media/**/*.png"))) == 2
    config = json.loads(configs[-1][0])
    assert (config["trainer.epochs"], config["_Group"]) == (3, GROUP)


@pytest.mark.slow
def test_wandb_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs the extra `wandb`")
    in_a_process("wandb", tmp_path, WANDB_MODE="offline", WANDB_ERROR_REPORTING="false", WANDB_SILENT="true")
    files = sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len({file.name for file in files}) == 1  # one id
    history, runs, codes = [], [], []
    for file in files:
        for record in records(file):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                values = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                history.append({key: json.loads(x) for key, x in values.items()})
            elif kind == "run":
                runs.append(record.run)
            elif kind == "exit":
                codes.append(record.exit.exit_code)
    assert (runs[0].project, runs[0].display_name, runs[0].run_group) == ("tests", "mine", GROUP)
    config = {item.key: item.value_json for item in runs[0].config.update}
    assert config["trainer.epochs"] == "2"
    assert [(x["epoch"], x["loss/total"]) for x in history if "loss/total" in x] == [(1, 1.0), (2, 0.5)]
    media = "wandb/offline-run-*/files/media"
    assert len(list(tmp_path.glob(f"{media}/images/timeline/v0_*.png"))) == 2
    (table,) = tmp_path.glob(f"{media}/table/validation_*.json")
    assert json.loads(table.read_text())["data"][0] == ["HAN, epoch 2", 40.5]
    assert codes == [255, 0]
