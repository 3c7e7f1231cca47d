"""Bad input of every kind gets one sentence that names it, before any work is done; each case was once told badly."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from coleaf_framework import AnchorOutput, CoLeaF, CoLeaFTrainer, load_anchor, wrap
from coleaf_framework.cli.main import main
from coleaf_framework.data import AVVPFolder, SyntheticLLP, open_folder, pack
from coleaf_framework.experiments.cell import run_cell
from coleaf_framework.metrics import DecisionConfig, choose_gates, decide
from coleaf_framework.record.settings import load_config, recipe
from coleaf_framework.storage import parse_state, read_json, read_yaml, write_json, write_state, write_tensors
from coleaf_framework.training.importing import import_checkpoint
from tests.helpers.command import Command
from tests.helpers.data import write_data_set
from tests.helpers.networks import TinyNet

SMALL = ("--set", "anchor.options={width: 8}", "--set", "trainer.epochs=1", "--set", "trainer.device=cpu")
Edit = Callable[[Any], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a run that was trained on them, with predictions and thresholds, and a store of them."""
    root = tmp_path_factory.mktemp("made")
    data, run = write_data_set(root / "data"), root / "run"
    with pytest.MonkeyPatch.context() as patch:
        for call in (
            ["train", "--data", data, "--out", run, *SMALL],
            ["predict", run, "--data", data],
            ["thresholds", run, "--data", data],
            ["pack", data, "--out", root / "store", "--dtype", "float32"],
        ):
            patch.setattr("sys.argv", ["coleaf", *map(str, call)])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code
    return root


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A copy of all that, for one case to spoil."""
    shutil.copytree(made, tmp_path / "here")
    return tmp_path / "here"


def refuses(coleaf: Command, words: str, *call: object) -> None:
    """`call` ends in one sentence with all of `words`, which are divided by bars."""
    told = coleaf(*call, fails=True).strip().splitlines()
    assert told[-1].startswith("coleaf: "), told
    assert sum(line.startswith("coleaf: ") for line in told) == 1, told
    assert "--debug" not in "".join(told), told
    assert not re.match(r"coleaf: (\w+(Error|Exception)\b|\[Errno)", told[-1]), told
    for word in words.split("|"):
        assert word in told[-1], told


def put(path: str, value: Any = KeyError) -> Edit:
    """Set what is at `path` ("a.b.0.c"), or take it away."""

    def edit(content: Any) -> None:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        for part in parents:
            content = content[part]
        if value is KeyError:
            del content[last]
        else:
            content[last] = value(content[last]) if callable(value) else value

    return edit


SETTINGS = {
    "anchor.options.width=-1": "width=-1|whole number",
    "anchor.options.width=x": "width='x'|whole number",
    "anchor.options.width=null": "width=None|whole number",
    "anchor.options.width=1000000000000000": "width=1000000000000000|not enough memory",
    "anchor.options.layers=0": "layers=0|whole number",
    "anchor.options.heads=-1": "heads=-1|whole number",
    "anchor.options.hidden=1.5": "hidden=1.5|whole number",
    "anchor.options.dropout=1": "dropout=1|[0, 1)",
    "anchor.options.dropout=x": "dropout='x'|[0, 1)",
    "anchor.options.cross_attention=[]": "cross_attention=[]|true or false",
    "anchor.options.widht=8": "widht|Did you mean 'width'?",
    "anchor.options.=1": "expected section.key=value",
    "anchor.options.streams=1": "anchor_options: streams|leave it out",
    "reference.options.width=8": "reference_options: width|leave it out",
    "reference.options.heads=0": "heads=0|whole number",
    "reference.options.class_tokens=[]": "class_tokens=[]|true or false",
    "reference.name='torch.nn:Linear'": "reference 'torch.nn:Linear'|in_features",
    "trainer.epochs=true": "epochs: expected a number, got True",
    "trainer.epochs=99999999999999999999": "epochs|less than or equal",
    "trainer.epochs=2020-01-01": "epochs|'2020-01-01'",
    "trainer.device=meta": "trainer.device 'meta'",
    ".epochs=1": "--set '.epochs=1'|section.key=value",
}


@pytest.mark.parametrize(("setting", "words"), SETTINGS.items())
def test_settings(coleaf: Command, made: Path, setting: str, words: str) -> None:
    refuses(coleaf, words, "train", "--data", made / "data", "--out", "new", *SMALL, "--set", setting)
    assert not Path("new/model.safetensors").exists()


CONFIGS = {"": "found nothing", "trainer:\n": "'trainer' is a value|None", "anchor: han\n": "'anchor' is a value|'han'"}


@pytest.mark.parametrize(("text", "words"), CONFIGS.items())
def test_config_files(coleaf: Command, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "my.yaml").write_text(text)
    refuses(coleaf, f"my.yaml|{words}", "train", "--config", "my.yaml")


RUN_CONFIGS = [
    (put("model"), "it has no section 'model'"),
    (put("model", [1]), "model: expected a section"),
    (put("model.streams", []), "model.streams"),
    (put("model.streams.audio.width", "x"), "model.streams.audio.width|'x'"),
    (put("model.num_classes", -1), "model.num_classes|-1"),
    (put("model.width", None), "model.width"),
    (put("model.frozen", 3), "model.frozen|3"),
    (put("model.frozen", ["nope"]), "model.frozen|'nope'"),
    (put("model.classes", ["a"]), "classes has 1 names"),
    (put("model.adapter", {}), "model.adapter|it lacks 'tokens'"),
    (put("anchor.options.width", "x"), "width='x'"),
    (put("anchor.options.foo", 1), "foo"),
    (put("reference.options", 3), "reference.options|expected a section"),
    (put("coleaf"), "coleaf: Field required"),
    (put("anchor.optoins", {}), "anchor|has no key 'optoins'. Did you mean 'options'?"),
    (put("reference.bogus", 1), "reference|has no key 'bogus'"),
    (put("bogus", 1), "RunRecord has no key 'bogus'"),
]


@pytest.mark.parametrize(("edit", "words"), RUN_CONFIGS, ids=[words for _, words in RUN_CONFIGS])
def test_config_of_a_run(coleaf: Command, here: Path, edit: Edit, words: str) -> None:
    path = here / "run/config.yaml"
    content = read_yaml(path)
    edit(content)
    path.write_text(yaml.safe_dump(content))
    refuses(coleaf, f"config.yaml|{words}", "evaluate", here / "run", "--data", here / "data")
    with pytest.raises(ValueError, match=r"config\.yaml"):
        CoLeaF.load(here / "run")


WEIGHT = "anchor.fc_a.weight"
STATES = [
    (put("model", 3), "model: expected a section, keys with values each, got 3"),
    (lambda s: s["model"].pop(WEIGHT), f"model.{WEIGHT} is missing"),
    (lambda s: s["model"].update({WEIGHT: torch.zeros(2, 2)}), f"model.{WEIGHT} is (2, 2)"),
    (lambda s: s["model"].update({WEIGHT: torch.zeros(8, 6, dtype=torch.long)}), f"model.{WEIGHT}|int64"),
    (lambda s: s["model"][WEIGHT].fill_(torch.nan), f"model.{WEIGHT} holds NaN"),
    (put("optimizer", {}), "optimizer.state: Field required"),
    (put("optimizer.param_groups", []), "optimizer.param_groups"),
    (put("optimizer.param_groups.0.params", [0]), "other params"),
    (put("optimizer.param_groups.0.betas", "xy"), "other betas"),
    (put("optimizer.param_groups.0.lr", "x"), "lr 'x'"),
    (put("optimizer.state.0.exp_avg", torch.zeros(1)), "optimizer.state.0.exp_avg is (1,)"),  # was a segmentation fault
    (put("optimizer.state.0", {}), "optimizer.state.0.exp_avg is missing"),
    (put("history", "x"), "history"),
    (put("history", [1]), "history.0"),
    (put("history.0.epoch", 7), "its entry 1 is of epoch 7"),
    (put("best", {}), "best.value"),
    (put("best.epoch", -1), "best.epoch"),
    (put("epoch_steps", -1), "epoch_steps|-1"),
    (put("epoch_steps", True), "epoch_steps|True"),
    (put("epoch_steps", 7), "epoch_steps is 7, an epoch has 1"),
    (put("losses", {"sums": {"a": 1.0}, "steps": {}}), "steps []"),
    (put("losses", None), "losses|None"),
]


@pytest.mark.parametrize(("edit", "words"), STATES, ids=[words for _, words in STATES])
def test_resume_states(coleaf: Command, here: Path, edit: Edit, words: str) -> None:
    path = here / "run/resume.safetensors"
    state = parse_state(path.read_bytes(), path)
    edit(state)
    write_state(path, state)
    call = ("train", "--resume", "--out", here / "run", "--set", "trainer.epochs=2")
    refuses(coleaf, f"resume.safetensors|{words}", *call)


def test_a_state_that_is_nested_too_deeply(coleaf: Command, here: Path) -> None:
    write_tensors(here / "run/resume.safetensors", {}, {"state": "[" * 100_000 + "]" * 100_000})
    refuses(coleaf, "resume.safetensors|damaged", "train", "--resume", "--out", here / "run")


OUTPUTS = [
    (put("parser"), "parser: Field required"),
    (put("split", "val"), "split 'val'"),
    (put("ids", lambda x: x[:1] * 3), "ids"),
    (put("classes", ["a"]), "where (3, 4, 2, 1)"),
    (put("decision", {"gate": "x"}), "decision.gate|'x'"),
    (put("decision", {"segment_threshold": [0.5]}), "1 values for 3 classes"),
    (put("segment_probs", lambda x: x[:-1]), "segment_probs is (2, 4, 2, 3)"),
    (put("modality_probs", None), "modality_probs|None"),
    (put("video_probs", lambda x: x - 7), "video_probs|no probabilities"),
    (put("segment_probs", lambda x: x * torch.nan), "segment_probs|no probabilities"),
    (put("truth", lambda x: x.float()), "truth|float32"),
    (put("mask", lambda x: x[None]), "mask is (1, 3, 4)"),
]


@pytest.mark.parametrize(("edit", "words"), OUTPUTS, ids=[words for _, words in OUTPUTS])
def test_kept_outputs(coleaf: Command, here: Path, edit: Edit, words: str) -> None:
    path = here / "run/predictions-test.safetensors"
    state = parse_state(path.read_bytes(), path)
    edit(state)
    write_state(path, state)
    refuses(coleaf, f"predictions-test.safetensors|{words}", "report", here / "run")


DECISIONS = [
    (put("decision.segment_threshold", [0.5]), "segment_threshold has 1 values for 3 classes"),
    (put("decision.gate_threshold", {"audio": [0.5], "visual": [0.5]}), "gate_threshold.audio has 1 values"),
    (put("decision.classes", 3), "classes: Input should be a valid tuple, got 3"),
]


@pytest.mark.parametrize(("edit", "words"), DECISIONS, ids=[words for _, words in DECISIONS])
def test_decision_files(coleaf: Command, here: Path, edit: Edit, words: str) -> None:
    path = here / "run/decision.yaml"
    content = read_yaml(path)
    edit(content)
    path.write_text(yaml.safe_dump(content))
    refuses(coleaf, f"decision.yaml|{words}", "evaluate", here / "run", "--data", here / "data", "--decision", path)


INDEXES = [
    (put("shards"), "shards: Field required"),
    (put("dtype", 3), "dtype"),
    (put("streams", []), "streams"),
    (put("streams.audio.width", -1), "streams.audio.width"),
    (put("streams.audio.width", 10**12), "streams.audio"),
    (put("streams.audio.modality", "x"), "streams.audio.modality"),
    (put("streams.audio.foo", 1), "streams.audio.foo"),
    (put("annotations", "x"), "annotations"),
    (put("shards.0.file", "../x"), "shards.0.file"),
    (put("shards.0.videos", 3), "shards.0.videos"),
    (put("shards.0.videos", ["tr00"] * 6), "a video is in it twice"),
    (put("shards.0.segments", [-4] * 6), "shards.0.segments.0"),
    (put("shards.0.segments", [4]), "segments has 1 values for 6 videos"),
    (put("shards.0.segments.5", 10**18), "shards.0.segments.5"),
    (put("shards.0.checksums", {"audio": [1] * 6}), "shards.0.checksums"),
    (put("shards.0.checksums.visual", [1]), "checksums.visual has 1 values"),
]


@pytest.mark.parametrize(("edit", "words"), INDEXES, ids=[words for _, words in INDEXES])
def test_store_indexes(coleaf: Command, here: Path, edit: Edit, words: str) -> None:
    path = here / "store/index.json"
    content = read_json(path)
    edit(content)
    write_json(path, content)
    refuses(coleaf, f"index.json|{words}", "train", "--data", here / "store", "--out", "new", *SMALL)
    assert not Path("new").exists()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


WEAK = "filename\tevent_labels\n"
DENSE = "filename\tonset\toffset\tevent_labels\n"
DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "classes.txt": (lambda p: p.write_bytes("Dog\n".encode("utf-16")), "not a UTF-8 text file"),
    "./classes.txt": (lambda p: p.write_text("Dog\nCar\nSpeech\na,b\n"), "class 'a,b'"),
    "././classes.txt": (_folder, "is a folder, where a file was expected"),
    "AVVP_train.csv": (lambda p: p.write_text(f"{WEAK}tr00_9_3\tDog\n"), "AVVP_train.csv:2|9 to 3"),
    "./AVVP_train.csv": (lambda p: p.write_text(f"{WEAK}tr00_0_{'9' * 400}\tDog\n"), "AVVP_train.csv:2|inf"),
    "././AVVP_train.csv": (lambda p: p.write_text(f"{WEAK}tr00_\u0660_\u0664\tDog\n"), "AVVP_train.csv:2|plain name"),
    "AVVP_eval_audio.csv": (
        lambda p: p.write_text(f"{DENSE}va00_0_4\t\uff11\t3\tDog\n"),
        "AVVP_eval_audio.csv:2|interval",
    ),
    "./AVVP_eval_audio.csv": (_folder, "is a folder"),
    "feats/vggish/tr03.npy": (_folder, "tr03.npy: not a regular file"),
    "feats/res152/va01.npy": (_folder, "va01.npy: not a regular file"),
}


@pytest.mark.parametrize("path", DATA)
def test_data(coleaf: Command, here: Path, path: str) -> None:
    spoil, words = DATA[path]
    spoil(here / "data" / path)
    refuses(coleaf, f"{Path(path).name}|{words}", "train", "--data", here / "data", "--out", "new", *SMALL)


def test_annotations_that_synthetic_features_cannot_follow(coleaf: Command, tmp_path: Path) -> None:
    (tmp_path / "AVVP_val_pd.csv").write_text(f"{WEAK}va_0_30\tSpeech\n")
    (tmp_path / "AVVP_eval_audio.csv").write_text(f"{DENSE}va_0_30\t1\t25\tSpeech\n")
    refuses(coleaf, "AVVP_eval_audio.csv:2|1 to 25|last 10 s", "synth", "--annotations", tmp_path, "--out", "new")


CHECKPOINTS: dict[str, tuple[Callable[[torch.Tensor], object], str]] = {
    "nested": (lambda x: torch.nested.nested_tensor([x]), f"{WEIGHT.removeprefix('anchor.')} is not a plain tensor"),
    "quantized": (lambda x: torch.quantize_per_tensor(x, 1.0, 0, torch.quint8), "fc_a.weight is not a plain tensor"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints(coleaf: Command, made: Path, kind: str) -> None:
    spoil, words = CHECKPOINTS[kind]
    weights = load_anchor(made / "run").state_dict()
    torch.save(weights | {"fc_a.weight": spoil(weights["fc_a.weight"])}, "best.pt")
    call = ("import", "best.pt", "--as", "han", "--data", made / "data", "--out", "new", "--option")
    refuses(coleaf, f"best.pt|{words}", *call, "width=8")
    refuses(coleaf, "width=-1|whole number", *call, "width=-1")


NETWORK = """
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.v = nn.Linear(128, 8), nn.Linear(2048, 8)
    def forward(self, audio, visual, visual_st):
        return self.give(self.a(audio), self.v(visual.unflatten(1, (-1, 8)).mean(2)))
    def give(self, x, y):
        return x, y

class Net(Base):
"""
NETWORKS = {
    "def __init__(self): raise RuntimeError('boom')": "cannot be made: RuntimeError: boom",
    "def __init__(self): assert False": "raises AssertionError without a message",
    "def __init__(self): raise SystemExit(3)": "cannot be made: SystemExit: 3",
    "def __init__(self): pass": "super().__init__()",
    "def __init__(self, a): super().__init__()": "missing a required argument: 'a'",
    "def __new__(cls): return 3": "made a int",
    "forward = 3": "forward",
    "num_classes = property(lambda self: 1 / 0)": "num_classes cannot be read",
    "def give(self, x, y): raise RuntimeError('boom')": "RuntimeError: boom",
    "def give(self, x, y): raise SystemExit(3)": "SystemExit: 3",
}
INSPECTED = {
    "streams = {'audio': 128}": "'audio' is declared by 128",
    "def give(self, x, y): return torch.complex(x, y)": "cannot be analysed",
    "def give(self, x, y): return x[:0]": "cannot be analysed",
    "def give(self, x, y): return x.detach().to_sparse()": "cannot be analysed",
    "def give(self, x, y): out = [x]; out.append(out); return out": "cannot be analysed",
}


@pytest.mark.parametrize("code", [*NETWORKS, *INSPECTED])
def test_networks_of_a_user(coleaf: Command, tmp_path: Path, code: str) -> None:
    module = f"net{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(f"{NETWORK}    {code}\n")
    coleaf.monkeypatch.syspath_prepend(tmp_path)
    refuses(coleaf, (NETWORKS | INSPECTED)[code], "inspect", f"{module}:Net")
    if code in NETWORKS:
        few = ("--set", "data.synthetic_train=2", "--set", "data.synthetic_val=2")
        refuses(coleaf, NETWORKS[code], "train", "--anchor", f"{module}:Net", "--out", "new", *few)
        assert not Path("new").exists()


PLACES = {
    "thresholds RUN --data DATA --out .": "--out .|folder",
    "predict RUN --data DATA --out RUN/config.yaml/x": "--out|config.yaml is a file",
    "evaluate RUN --data DATA --json .": "--json .|folder",
    "flops --json .": "--json .|folder",
    "report RUN --out RUN/config.yaml/x": "--out|config.yaml is a file",
    "report RUN --figures RUN/config.yaml/x": "--figures|config.yaml is a file",
    "plot RUN/predictions-test.json --video te00 --out .": "--out .|folder",
    "plot RUN/predictions-test.json --video te00 --out x.foo": "x.foo|'.foo'",
    "train --data DATA --out RUN/config.yaml/x": "--out|config.yaml is a file",
    "pack DATA --out RUN/config.yaml/x": "--out|config.yaml is a file",
    "demo --out RUN/config.yaml/x": "--out|config.yaml is a file",
    "compare --anchors han --data DATA --out RUN/config.yaml": "--out|config.yaml is a file",
    "compare --anchors han --data DATA --out new --set trainer.device=cuda:99": "trainer.device 'cuda:99'",
    "compare --anchors han --data DATA --out new --set decision.segment_threshold=[1,1]": "segment_threshold has 2",
    "inspect han --stream audio=0": "--stream 'audio=0'|width",
    "inspect han --option width=0": "width=0",
    "inspect han --classes 99999999999999": "num_classes=99999999999999|not enough memory",
}


@pytest.mark.parametrize("call", PLACES)
def test_options(coleaf: Command, made: Path, call: str) -> None:
    call_ = call.replace("RUN", f"{made / 'run'}").replace("DATA", f"{made / 'data'}")
    refuses(coleaf, PLACES[call], *call_.split())


def test_a_plan_of_a_cell(tmp_path: Path) -> None:
    for text, words in (
        ("a: 1\n", "CellPlan has no key 'a'"),
        ("split: test\nconfig: {data: [1]}\n", "data: expected a section"),
        ("split: x\nconfig: {}\n", "split: Input should be 'train', 'val' or 'test', got 'x'"),
    ):
        (tmp_path / "cell.yaml").write_text(text)
        with pytest.raises(ValueError, match=rf"cell\.yaml.*{re.escape(words)}"):
            run_cell(tmp_path)


def answers() -> AnchorOutput:
    return AnchorOutput(torch.rand(4, 5, 2, 3), torch.rand(4, 3), torch.rand(4, 5, 2, 7), torch.rand(4, 2, 3))


def gates(truth: Any = None, **how: Any) -> object:
    truth = torch.zeros(4, 5, 2, 3, dtype=torch.bool) if truth is None else truth
    return choose_gates(answers(), truth, DecisionConfig(), **how)


decided = DecisionConfig()
PYTHON: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "pack text": (lambda made: pack("nowhere", "new"), "nowhere: no such folder"),
    "pack dtype": (lambda made: pack(made / "data", "new", dtype=["float32"]), r"dtype \['float32'\]"),  # type: ignore[arg-type]
    "pack size": (lambda made: pack(made / "data", "new", shard_megabytes=-1), "shard_megabytes is -1"),
    "pack jobs": (lambda made: pack(made / "data", "new", jobs=0), "jobs is 0"),
    "split": (lambda made: open_folder(made / "data", ["train"]), "split"),  # type: ignore[arg-type]
    "classes": (lambda made: AVVPFolder(made / "data", "train", "Dog"), "classes is 'Dog'"),
    "seed": (lambda made: SyntheticLLP("train", 2, "x"), "seed"),  # type: ignore[arg-type]
    "recipe": (lambda made: recipe("paper", {"a": 1}), "section.key=value"),  # type: ignore[arg-type]
    "config": (lambda made: load_config("no.yaml"), r"no\.yaml: no such file"),
    "load": (lambda made: CoLeaF.load(made / "run", anchor="han"), "anchor is 'han'"),  # type: ignore[arg-type]
    "checkpoint": (lambda made: import_checkpoint("no.pt", None), "anchor None"),  # type: ignore[arg-type]
    "trainer config": (lambda made: CoLeaFTrainer(TinyNet(), {"epochs": 3}), "TrainerConfig"),  # type: ignore[arg-type]
    "trainer decision": (lambda made: CoLeaFTrainer(TinyNet(), decision=0.5), "DecisionConfig"),  # type: ignore[arg-type]
    "trainer cache": (lambda made: CoLeaFTrainer(TinyNet(), cache="x"), "cache is 'x'"),  # type: ignore[arg-type]
    "fit": (lambda made: CoLeaFTrainer(TinyNet()).fit("data/llp"), "'data/llp' is no data set"),  # type: ignore[arg-type]
    "wrap classes": (lambda made: wrap("han", num_classes=-1), "num_classes is -1"),
    "wrap options": (lambda made: wrap("han", anchor_options=[1]), r"anchor_options is \[1\]"),  # type: ignore[arg-type]
    "wrap reference": (lambda made: wrap(TinyNet(), reference=3), "reference is 3"),  # type: ignore[arg-type]
    "wrap statistics": (lambda made: wrap(TinyNet(), statistics=3), "statistics is 3"),  # type: ignore[arg-type]
    "decide output": (lambda made: decide(torch.rand(4), decided), "AnchorOutput"),  # type: ignore[arg-type]
    "decide mask": (lambda made: decide(answers(), decided, torch.ones(4, 5)), "mask is of torch.float32"),
    "gates column": (lambda made: gates(column=None), "no column None"),
    "gates grid": (lambda made: gates(grid=("a",)), "grid"),
    "gates truth": (lambda made: gates(torch.ones(3, 5, 2, 3, dtype=torch.bool)), r"truth is \(3, 5, 2, 3\)"),
    "gates mask": (lambda made: gates(mask=torch.ones(4, 9, dtype=torch.bool)), r"mask has shape \(4, 9\)"),
}


@pytest.mark.parametrize("name", PYTHON)
def test_calls_from_python(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    call, words = PYTHON[name]
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        call(made)


def test_features_of_other_byte_orders_are_read(here: Path) -> None:
    path = here / "data/feats/vggish/tr00.npy"
    np.save(path, np.asfortranarray(np.ones((4, 6), ">f4")))
    assert (AVVPFolder(here / "data", "train")[0].streams["audio"] == 1).all()
