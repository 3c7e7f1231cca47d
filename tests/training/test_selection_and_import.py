"""Selected thresholds and published checkpoints, from Python; tests of cli have the commands."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, create_anchor, import_checkpoint, wrap
from coleaf_framework.data import open_folder
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.results import load_decision, select_thresholds
from coleaf_framework.training.importing import import_run
from tests.helpers.plugins import install, make_site

SMALL = {"width": 8, "num_classes": 3}
ALIKE = """
from torch import nn
class One(nn.Module):
    def __init__(self):
        super().__init__()
        self.special, self.more = nn.Linear(2, 3), nn.Linear(3, 1)
class Two(One): ...
class Wider(One):
    def __init__(self):
        super().__init__()
        self.special = nn.Linear(5, 3)
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(3, 1)
class Fails(One):
    def __init__(self): raise RuntimeError
class Picky(One):
    published_tensors = staticmethod(lambda tensors: {"x": tensors["x"]})
"""


@pytest.fixture
def trainer(data_root: Path) -> CoLeaFTrainer:
    data = open_folder(data_root, "train")
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options={"width": 8})
    return CoLeaFTrainer(model, TrainerConfig(device="cpu", batch_size=2), quiet=True)


def test_chosen_gates_give_the_score_that_was_said(trainer: CoLeaFTrainer, data_root: Path, tmp_path: Path) -> None:
    val = open_folder(data_root, "val")
    how = {"column": "segment/Type@AVo", "modalities": ("audio", "visual"), "grid": (0.1, 0.3, 0.5, 0.7)}
    selection = select_thresholds(trainer.predict(val), **how)
    selection.save(tmp_path / "decision.yaml")
    decision, chosen = load_decision(tmp_path / "decision.yaml")
    assert decision == selection.decision
    assert (chosen["split"], chosen["forced"]) == ("val", False)
    trainer.decision = decision
    assert trainer.evaluate(val)["segment/Type@AVo"] == pytest.approx(selection.chosen.after)


def test_the_test_split_must_be_forced(trainer: CoLeaFTrainer, data_root: Path) -> None:
    test = open_folder(data_root, "test")
    with pytest.raises(ValueError, match="make its scores worthless: take --split val, or --force"):
        select_thresholds(trainer.predict(test))
    assert select_thresholds(trainer.predict(test), force=True).about["forced"] is True


def test_another_file_is_no_decision(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    for content in (
        {"decision": {"gates": 1}, "chosen": {}},
        {"decision": {"gate_threshold": 2}, "chosen": {}},
        {"decision": {}, "chosen": None},
        {"trainer": {}},
        [1],
    ):
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(ValueError, match="d.yaml"):
            load_decision(path)


def published(tmp_path: Path, name: str = "han", **change: Any) -> tuple[Path, dict[str, torch.Tensor]]:
    """A checkpoint in the published layout: what the network uses, and parameters that it never does."""
    options = SMALL | ({"noise_ratios": {"audio": 0.0, "visual": 0.0}} if name == "cmpae" else {})
    weights = dict(create_anchor(name, **options).state_dict())
    extra = {"hat_encoder.norm1.weight": torch.ones(8), "audio_encoder.layers.0.linear1.bias": torch.ones(8)}
    path = tmp_path / f"{name}.pt"
    torch.save({**weights, **extra, **change}, path)
    return path, weights


@pytest.mark.parametrize("name", ["han", "cmpae"])
@pytest.mark.parametrize("layout", ["bare", "model", "parallel"])
def test_a_published_checkpoint_is_read(
    name: str, layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, weights = published(tmp_path, name)
    content = torch.load(path, weights_only=True)
    if layout == "model":
        torch.save({"model": content, "epoch": 12, "optimizer": {"lr": 0.1}}, path)
    if layout == "parallel":
        torch.save({f"module.{key}": x for key, x in content.items()}, path)
    options = SMALL | ({"noise_ratios": {"audio": 0.0, "visual": 0.0}} if name == "cmpae" else {})
    network = import_checkpoint(path, name, **options)
    assert all(torch.equal(x, weights[key]) for key, x in network.state_dict().items())
    assert "2 parameters that" in caplog.text
    assert "hat_encoder.norm1.weight, audio_encoder.layers.0.linear1.bias" in caplog.text
    assert not network.training


def test_missing_and_misshapen_parameters_are_listed(tmp_path: Path) -> None:
    path, weights = published(tmp_path)
    short = {key: x for key, x in weights.items() if not key.startswith("fc_av_att")}
    torch.save(short, path)
    with pytest.raises(ValueError, match=r"han\.pt does not fit 'han': it lacks fc_av_att\.weight, fc_av_att\.bias"):
        import_checkpoint(path, "han", **SMALL)
    torch.save(weights, path)
    with pytest.raises(ValueError, match=r"fc_prob\.weight is \(3, 8\) there, \(4, 8\) here; .*other options"):
        import_checkpoint(path, "han", width=8, num_classes=4)


@pytest.mark.parametrize(("made", "asked"), [("cmpae", "han"), ("han", "cmpae")])
@pytest.mark.parametrize("options", [{}, SMALL])
def test_a_checkpoint_of_another_system_is_refused_with_the_name_of_that(
    made: str, asked: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever its widths are, and with parameters that no network uses."""
    own = options | ({"noise_ratios": {"audio": 0.0, "visual": 0.0}} if made == "cmpae" else {})
    torch.save({"model": {**create_anchor(made, **own).state_dict(), "old.weight": torch.ones(3)}}, tmp_path / "x.pt")
    hint = rf"does not fit '{asked}'.*\. Its parameters have the names that .*'{made}'.* --as"
    with pytest.raises(ValueError, match=hint):
        import_checkpoint(tmp_path / "x.pt", asked)


def test_every_plugin_with_these_names_is_told_and_a_broken_one_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path / "site", monkeypatch)
    (site / "alike_nets.py").write_text(ALIKE)
    lines = [f"{name.lower()} = alike_nets:{name}" for name in ("One", "Two", "Wider", "Part", "Fails", "Picky")]
    install(site, "alike", "\n".join(lines))
    torch.save(create_anchor("one").state_dict(), tmp_path / "x.pt")
    with pytest.raises(ValueError, match="the names that 'one' and 'two' have: try --as one$"):
        import_checkpoint(tmp_path / "x.pt", "han")
    with pytest.raises(ValueError, match=r"does not fit 'picky': it lacks 'x'\. Its parameters .* 'one' and 'two'"):
        import_checkpoint(tmp_path / "x.pt", "picky")
    torch.save({"stranger": torch.ones(2), "more.weight": torch.ones(1, 2)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="or for another network$"):
        import_checkpoint(tmp_path / "x.pt", "han")


def test_a_system_published_without_what_it_is_trained_with_is_recognised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """HCMN has helpers by default, which its published files lack; HAN's names are among its own."""
    weights = create_anchor("hcmn", helpers=False).state_dict()
    torch.save({**weights, "old.weight": torch.ones(3)}, tmp_path / "x.pt")
    import_checkpoint(tmp_path / "x.pt", "hcmn")
    assert caplog.messages == [f"{tmp_path / 'x.pt'}: 1 parameters that hcmn does not use: old.weight"]
    import_checkpoint(tmp_path / "x.pt", "han")
    assert caplog.messages[-1].endswith("Its parameters have the names that 'hcmn' has: try --as hcmn")


def test_a_checkpoint_that_most_names_fit_is_said_to_look_like_that_network(tmp_path: Path) -> None:
    weights = dict(create_anchor("cmpae").state_dict())
    n = len(weights)
    del weights["fc_prob.bias"]
    torch.save(weights, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=f"looks most like 'cmpae', of whose {n} parameters it has {n - 1} by name$"):
        import_checkpoint(tmp_path / "x.pt", "han")
    with pytest.raises(ValueError, match="it lacks fc_prob.bias.*or for another network$"):
        import_checkpoint(tmp_path / "x.pt", "cmpae")


def test_a_checkpoint_that_fits_but_is_better_used_by_another_network_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(tmp_path / "site", monkeypatch)
    (site / "larger_net.py").write_text(
        "from torch import nn\nfrom coleaf_backbones.han import HAN\nclass Larger(HAN):\n"
        "    def __init__(self, **options):\n        super().__init__(**options)\n        self.head = nn.Linear(2, 2)\n"
    )
    install(site, "larger", "larger = larger_net:Larger")
    torch.save(create_anchor("larger").state_dict(), tmp_path / "x.pt")
    import_checkpoint(tmp_path / "x.pt", "han")
    assert "head.weight, head.bias. Its parameters have the names that 'larger' has" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * float("nan"), "fc_prob.bias is not a plain tensor of finite values$"),
        (lambda x: x > 0, "fc_prob.bias is torch.bool there, torch.float32 here"),
        (lambda x: x.to_sparse(), "fc_prob.bias is not a plain tensor|damaged"),
    ],
)
def test_impossible_values_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    path, weights = published(tmp_path)
    torch.save({**weights, "fc_prob.bias": change(weights["fc_prob.bias"])}, path)
    with pytest.raises(ValueError, match=message):
        import_checkpoint(path, "han", **SMALL)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_bytes_are_named_whatever_they_break(seed: int, tmp_path: Path) -> None:
    path, _ = published(tmp_path)
    content = bytearray(path.read_bytes())
    generator = random.Random(seed)
    if seed % 2:
        del content[generator.randrange(len(content)) :]
    else:
        at = generator.randrange(len(content) // 2)
        content[at : at + 40] = generator.randbytes(40)
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"han\.pt"):
        import_checkpoint(path, "han", **SMALL)


@pytest.mark.parametrize("name", ["han", "cmpae", "official_anchor"])
def test_whole_published_layouts_are_read(name: str, parity: Path, tmp_path: Path) -> None:
    """Every parameter of the published state dicts, used or not."""
    published = json.loads((parity / f"{name}.state_dict.json").read_text())
    torch.save({"model": {key: torch.full(entry["shape"], 0.1) for key, entry in published.items()}}, tmp_path / "x.pt")
    network = import_checkpoint(tmp_path / "x.pt", "han" if name == "han" else "cmpae")
    used = {key for key, entry in published.items() if entry["used_in_forward"]}
    assert set(network.state_dict()) == used


class Payload:
    """What a pickle could run."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    torch.save({"model": Payload()}, path)
    with pytest.raises(ValueError, match=r"evil\.pt: damaged, or holds more than tensors"):
        import_checkpoint(path, "han")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_what_is_no_checkpoint_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    if content is None:
        torch.save([1, 2], path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pt"):
        import_checkpoint(path, "han")
    with pytest.raises(FileNotFoundError, match=r"y\.pt: no such file"):
        import_checkpoint(tmp_path / "y.pt", "han")


def test_an_imported_run_can_be_scored(tmp_path: Path, data_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    from coleaf_framework.training.experiment import load_run

    data = open_folder(data_root, "val")
    streams = data.streams
    model = wrap("han", streams=streams, num_classes=3, anchor_options={"width": 8}, config=CoLeaFConfig(enabled=False))
    path = tmp_path / "han.pt"
    torch.save({"model": model.anchor.state_dict()}, path)
    with caplog.at_level(logging.WARNING):
        import_run(path, "han", tmp_path / "run", streams=streams, num_classes=3, width=8)
    config, trainer = load_run(tmp_path / "run")
    assert config.decision == DecisionConfig()
    expected = CoLeaFTrainer(model, TrainerConfig(device="cpu"), quiet=True).evaluate(data)
    assert trainer.evaluate(data).scores == pytest.approx(expected.scores, nan_ok=True)
    with pytest.raises(FileExistsError, match="holds another run"):
        import_run(path, "han", tmp_path / "run", streams=streams, num_classes=3, width=8)
