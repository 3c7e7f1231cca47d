"""The training loop: resuming bit for bit, what it refuses, and that it learns."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import AnchorOutput, CoLeaFConfig, CoLeaFTrainer, StreamSpec, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder, SyntheticLLP
from coleaf_framework.metrics import DecisionConfig, all_scores
from coleaf_framework.storage import read_tensors, read_yaml, write_yaml
from coleaf_framework.training.best import BestWeights
from coleaf_framework.training.losslog import LossLog
from tests.helpers.data import CLASSES, Bomb, last
from tests.helpers.networks import TinyNet
from tests.helpers.training import FAST, SMALL, Interrupted, interrupt_at, resume_state, same_weights


def small_model(data: AVVPFolder, seed: int = 0, **config: Any) -> Any:
    torch.manual_seed(seed)
    return wrap("han", streams=data.streams, num_classes=3, anchor_options=SMALL, config=CoLeaFConfig(**config))


def run(
    data_root: Path,
    out: Path | None,
    epochs: int = 3,
    on_existing: Any = "refuse",
    cache: Any = "none",
    **settings: Any,
) -> CoLeaFTrainer:
    train, val = AVVPFolder(data_root, "train"), AVVPFolder(data_root, "val")
    config = TrainerConfig(epochs=epochs, **(FAST | settings))  # type: ignore[arg-type]
    made = CoLeaFTrainer(small_model(train), config, out=out, on_existing=on_existing, cache=cache, quiet=True)
    made.fit(train, val)
    return made


def weights(trainer: CoLeaFTrainer) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in trainer.model.state_dict().items()}


@pytest.mark.parametrize("step", [0, 3, 5, 7])
def test_a_resumed_run_ends_with_the_same_weights(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """2 steps an epoch; interrupted before the first epoch's end, and in later ones."""
    whole = run(data_root, tmp_path / "whole", epochs=4)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted):
            run(data_root, tmp_path / "cut", epochs=4)
    torch.randn(17)  # whatever else the new process does
    resumed = run(data_root, tmp_path / "cut", epochs=4, on_existing="resume")
    assert same_weights(weights(resumed), weights(whole))
    last = [resume_state(tmp_path / d)["model"] for d in ("whole", "cut")]
    assert same_weights(*last)
    drop = ("seconds",)
    assert [{k: v for k, v in e.items() if k not in drop} for e in resumed.history] == [
        {k: v for k, v in e.items() if k not in drop} for e in whole.history
    ]


def test_a_run_may_go_on_for_more_epochs(data_root: Path, tmp_path: Path) -> None:
    run(data_root, tmp_path / "a", epochs=2)
    longer = run(data_root, tmp_path / "a", epochs=3, on_existing="resume")
    assert same_weights(weights(longer), weights(run(data_root, None, epochs=3)))


def as_it_is(network: nn.Module, streams: dict[str, Tensor]) -> AnchorOutput:
    """An adapter for `TinyNet`."""
    return network(**streams)  # type: ignore[no-any-return]


def test_a_run_that_was_recorded_before_classes_and_adapters_were_named_goes_on(
    data_root: Path, tmp_path: Path
) -> None:
    def train(epochs: int, on_existing: Any) -> CoLeaFTrainer:
        config = TrainerConfig(**FAST, epochs=epochs)  # type: ignore[arg-type]
        torch.manual_seed(0)
        model = wrap(TinyNet, adapter=as_it_is)
        made = CoLeaFTrainer(model, config, out=tmp_path / "run", on_existing=on_existing, quiet=True)
        made.fit(AVVPFolder(data_root, "train"), AVVPFolder(data_root, "val"))
        return made

    train(1, "refuse")
    record = read_yaml(tmp_path / "run/config.yaml")
    assert record["anchor"]["name"] == "tests.helpers.networks:TinyNet"
    record["anchor"], record["model"]["adapter"] = {"name": None, "options": {}}, True
    write_yaml(tmp_path / "run/config.yaml", record)
    assert len(train(2, "resume").history) == 2
    record = read_yaml(tmp_path / "run/config.yaml")
    assert record["anchor"]["name"] == "tests.helpers.networks:TinyNet"
    assert record["model"]["adapter"]["adapter"] == f"{__name__}:as_it_is"


def test_a_finished_run_resumed_does_nothing(data_root: Path, tmp_path: Path) -> None:
    before = run(data_root, tmp_path / "a")
    stamp = (tmp_path / "a/resume.safetensors").stat().st_mtime_ns
    again = run(data_root, tmp_path / "a", on_existing="resume")
    assert (tmp_path / "a/resume.safetensors").stat().st_mtime_ns == stamp
    assert same_weights(weights(again), weights(before))


def test_resuming_another_configuration_is_refused(data_root: Path, tmp_path: Path) -> None:
    run(data_root, tmp_path / "a", epochs=1)
    train = AVVPFolder(data_root, "train")
    config = TrainerConfig(epochs=1, learning_rate=0.1, **FAST)  # type: ignore[arg-type]
    trainer = CoLeaFTrainer(small_model(train), config, out=tmp_path / "a", on_existing="resume", quiet=True)
    with pytest.raises(ValueError, match=r"has trainer\.learning_rate = 0\.0005, now it is 0\.1"):
        trainer.fit(train)


def test_a_folder_with_another_run_is_refused_or_overwritten(data_root: Path, tmp_path: Path) -> None:
    run(data_root, tmp_path / "a", epochs=1)
    with pytest.raises(FileExistsError, match=r"holds another run .*pass --resume .* or --overwrite"):
        run(data_root, tmp_path / "a", epochs=1)
    (tmp_path / "a/notes.txt").write_text("mine")
    assert len(run(data_root, tmp_path / "a", epochs=2, on_existing="overwrite").history) == 2
    assert (tmp_path / "a/notes.txt").read_text() == "mine"


def test_a_damaged_resume_file_is_named_and_never_executed(data_root: Path, tmp_path: Path) -> None:
    for damage in (b"", b"PK\x03\x04 cut", None):
        run(data_root, tmp_path / "a", epochs=1, on_existing="overwrite")
        path = tmp_path / "a/resume.safetensors"
        if damage is None:
            torch.save({"model": Bomb()}, path)
        else:
            path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"resume\.safetensors: damaged"):
            run(data_root, tmp_path / "a", epochs=2, on_existing="resume")
    assert not Path("exploded").exists()


def test_the_best_epoch_is_kept_and_given_back(data_root: Path, tmp_path: Path) -> None:
    trainer = run(data_root, tmp_path / "a", epochs=4)
    best = max(trainer.history, key=lambda entry: entry["monitor"])
    val = AVVPFolder(data_root, "val")
    assert trainer.evaluate(val)["segment/A"] == pytest.approx(best["monitor"])
    assert same_weights(weights(trainer), read_tensors(tmp_path / "a/model.safetensors"))


def test_without_columns_to_watch_the_last_epoch_is_kept(data_root: Path, tmp_path: Path) -> None:
    train, val = AVVPFolder(data_root, "train"), AVVPFolder(data_root, "val")
    config = TrainerConfig(epochs=3, **(FAST | {"monitor": ()}))  # type: ignore[arg-type]
    trainer = CoLeaFTrainer(small_model(train), config, out=tmp_path / "a", quiet=True)
    history = trainer.fit(train, val)
    assert "monitor" not in history[-1]
    last = resume_state(tmp_path / "a")["model"]
    assert same_weights(weights(trainer), last)


def test_training_alone_is_the_same_loop_without_a_reference(data_root: Path) -> None:
    train = AVVPFolder(data_root, "train")
    config = TrainerConfig(epochs=2, **FAST)  # type: ignore[arg-type]
    alone = CoLeaFTrainer(small_model(train, enabled=False), config, quiet=True)
    history = alone.fit(train)
    assert set(history[-1]["losses"]) == {"anchor/video", "anchor/audio", "anchor/visual"}
    bare = CoLeaFTrainer(small_model(train, enabled=False).anchor, config, quiet=True)
    bare.fit(train)
    assert same_weights(weights(alone), weights(bare))


class Exploding(TinyNet):
    """A network whose loss becomes NaN when it is told to."""

    streams = {"audio": StreamSpec(6, "audio"), "visual": StreamSpec(8, "visual", frames=2)}
    after = 10**9

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        output = super().forward(audio, visual)
        if not self.training:
            return output
        self.seen += 1
        bad = float("nan") if self.seen > self.after else 0.0
        return AnchorOutput(output.segment_probs, output.video_probs + bad, output.tokens, output.modality_probs)


def test_a_loss_that_becomes_nan_stops_the_run_and_keeps_the_last_good_checkpoint(
    data_root: Path, tmp_path: Path
) -> None:
    train = AVVPFolder(data_root, "train")
    net = Exploding()
    model = wrap(net, config=CoLeaFConfig(contrast="none"))
    net.after = 3
    config = TrainerConfig(epochs=4, **FAST)  # type: ignore[arg-type]
    with pytest.raises(
        FloatingPointError,
        match=r"'anchor/video' became nan in epoch 2, batch 2; .*run keeps, for --resume, everything up to the end",
    ):
        CoLeaFTrainer(model, config, out=tmp_path / "run", quiet=True).fit(train)
    kept = resume_state(tmp_path / "run")
    assert len(kept["history"]) == 1
    assert same_weights(read_tensors(tmp_path / "run/model.safetensors"), kept["model"])
    assert all(torch.isfinite(x).all() for x in kept["model"].values())
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_data_that_does_not_fit_is_refused_before_training(data_root: Path) -> None:
    train = AVVPFolder(data_root, "train")
    with pytest.raises(ValueError, match="tiny train has 3 classes, the model 25"):
        CoLeaFTrainer(wrap("han", streams=train.streams, anchor_options=SMALL), quiet=True).fit(train)
    with pytest.raises(ValueError, match=r"stream 'audio' is StreamSpec\(width=6.* the model takes .*width=128"):
        CoLeaFTrainer(wrap("han", num_classes=3, anchor_options=SMALL), quiet=True).fit(train)
    with pytest.raises(ValueError, match="has only weak labels"):
        CoLeaFTrainer(small_model(train), quiet=True).evaluate(train)


def test_other_classes_than_those_trained_on_are_refused(data_root: Path) -> None:
    trainer = run(data_root, None, epochs=1)
    other = AVVPFolder(data_root, "val", classes=CLASSES[::-1])
    with pytest.raises(ValueError, match=r"tiny val has the classes \['Speech', .* trained on \['Dog'"):
        trainer.evaluate(other)


def test_unequal_lengths_train_and_score(data_root: Path) -> None:
    last(data_root, "tr01", 6)
    last(data_root, "va02", 7)
    trainer = run(data_root, None, epochs=2)
    lengths = {video.id: video.seconds for video in trainer.predict(AVVPFolder(data_root, "val")).events()}
    assert lengths == {"va00": 4.0, "va01": 4.0, "va02": 7.0}


def test_bf16_trains(data_root: Path) -> None:
    train = AVVPFolder(data_root, "train")
    config = TrainerConfig(epochs=1, precision="bf16", **FAST)  # type: ignore[arg-type]
    model, seen = small_model(train, reference_warmup=0, anchor_warmup=0), set()
    for layer in (model.anchor.fc_prob, model.reference.branches["audio"].fc_prob):
        layer.register_forward_hook(lambda layer, args, output: seen.add(output.dtype))
    losses = CoLeaFTrainer(model, config, quiet=True).fit(train)
    assert seen == {torch.bfloat16}
    assert all(torch.isfinite(torch.tensor(x)) for x in losses[0]["losses"].values())


def test_the_cache_changes_nothing(data_root: Path) -> None:
    plain = run(data_root, None, epochs=2)
    assert same_weights(weights(plain), weights(run(data_root, None, epochs=2, cache="memory")))


def test_workers_change_nothing_and_resume_exactly(data_root: Path, tmp_path: Path) -> None:
    plain = weights(run(data_root, None, epochs=2))
    run(data_root, tmp_path / "a", epochs=1, workers=1)
    assert same_weights(plain, weights(run(data_root, tmp_path / "a", epochs=2, workers=1, on_existing="resume")))


def test_the_learning_rate_follows_the_papers_steps(data_root: Path) -> None:
    history = run(data_root, None, epochs=5, lr_step=2, lr_gamma=0.25).history
    assert [entry["lr"] for entry in history] == pytest.approx([5e-4, 5e-4, 1.25e-4, 1.25e-4, 3.125e-5])


def test_tensorboard_files_are_written(data_root: Path, tmp_path: Path) -> None:
    run(data_root, tmp_path / "a", epochs=1, trackers=("tensorboard",))
    assert list((tmp_path / "a/tensorboard").glob("events.*"))


def test_a_network_that_says_nan_is_not_scored_as_silent(data_root: Path) -> None:
    trainer = run(data_root, None, epochs=1)
    with torch.no_grad():
        trainer.model.anchor.fc_prob.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"HAN gives NaN or inf for videos \['va00'"):
        trainer.evaluate(AVVPFolder(data_root, "val"))


def test_the_model_is_ready_to_deploy_after_training(data_root: Path) -> None:
    assert not run(data_root, None, epochs=1).model.anchor.training


def test_resuming_for_fewer_epochs_or_on_other_videos_is_refused(data_root: Path, tmp_path: Path) -> None:
    run(data_root, tmp_path / "a", epochs=2)
    with pytest.raises(ValueError, match="has 2 epochs already, trainer.epochs is 1"):
        run(data_root, tmp_path / "a", epochs=1, on_existing="resume")
    train = data_root / "AVVP_train.csv"
    train.write_text("\n".join(train.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"has train\.ids = .*, now it is"):
        run(data_root, tmp_path / "a", epochs=3, on_existing="resume")


def test_nan_scores_never_keep_a_worse_epoch() -> None:
    best, net = BestWeights(None), TinyNet()
    for epoch, value in enumerate((float("nan"), 10.0, 5.0, float("nan")), start=1):
        best.offer(value, epoch, net)
    assert best.epoch == 2


def test_terms_that_come_and_go_are_averaged_over_their_own_steps() -> None:
    log = LossLog(1)
    for i in range(4):
        log.add({"video": torch.tensor(1.0)} | ({"extra": torch.tensor(4.0)} if i % 2 else {}), i + 1)
    assert log.means() == {"video": 1.0, "extra": 4.0}


def test_the_official_loop_updates_the_reference_and_then_the_anchor(
    data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every update is made before the next one's forward, and the steps are numbered over all epochs."""
    data = AVVPFolder(data_root, "train")
    torch.manual_seed(0)
    config = CoLeaFConfig.official(anchor_warmup=0)
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options=SMALL, config=config)
    states, when = [copy.deepcopy(model.state_dict())], []
    update, after = model.update, model.after_step

    def recorded(batch: Any, progress: Any, which: str, shared: Any) -> Any:
        if which == "anchor":
            states.append(copy.deepcopy(model.state_dict()))
        when.append((progress.epoch, progress.step, which))
        return update(batch, progress, which, shared)

    def ended() -> None:
        states.append(copy.deepcopy(model.state_dict()))
        after()

    monkeypatch.setattr(model, "update", recorded)
    monkeypatch.setattr(model, "after_step", ended)
    CoLeaFTrainer(model, TrainerConfig(**FAST, epochs=2), quiet=True).fit(data)
    numbers = [(1, 0), (1, 1), (2, 2), (2, 3)]
    assert when == [(*number, which) for number in numbers for which in ("reference", "anchor")]
    moved = [
        {name.partition(".")[0] for name, x in now.items() if not torch.equal(x, before[name])}
        for before, now in itertools.pairwise(states)
    ]
    assert moved == [{"reference"}, {"anchor"}] * 4


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ValueError, match="device 'tpu' cannot be used here"):
        CoLeaFTrainer(wrap(TinyNet), TrainerConfig(device="tpu"))


def test_loss_log_finds_the_first_bad_batch_after_the_fact() -> None:
    log = LossLog(epoch=3)
    names = ("anchor/video", "anchor/contrast")
    values = ([1.0, 2.0], [1.0, float("inf")], [float("nan")] * 2)
    log._pending = [(batch, names, torch.tensor(row)) for batch, row in enumerate(values, start=1)]
    with pytest.raises(FloatingPointError, match="'anchor/contrast' became inf in epoch 3, batch 2"):
        log.flush()


@pytest.mark.slow
def test_training_beats_the_trivial_parsers_on_held_out_synthetic_videos() -> None:
    """Where they cannot cheat: support-only, and on events of one modality alone (docs/metrics.md)."""
    torch.manual_seed(0)
    model = wrap("han", anchor_options={"width": 64})
    config = TrainerConfig(epochs=10, batch_size=16, learning_rate=2e-3, lr_step=10, device="cpu")
    trainer = CoLeaFTrainer(model, config, cache="memory", quiet=True)
    trainer.fit(SyntheticLLP("train", 300))
    evaluation = trainer.evaluate(SyntheticLLP("test", 100))
    for column in ("support/segment/Ao", "support/segment/Event@AVo"):
        assert evaluation[column] > max(evaluation.empty[column], evaluation.video_label[column]) + 3
    for column in ("segment/A", "segment/V", "segment/AV", "segment/Event@AV"):
        assert evaluation[column] > evaluation.empty[column] + 3


def test_theta_is_logged_as_a_mean_over_videos_however_a_step_is_divided(data_root: Path) -> None:
    data = AVVPFolder(data_root, "train")
    logged = []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        quiet = {"dropout": 0.0}
        options = {"anchor_options": SMALL | quiet, "reference_options": quiet, "config": CoLeaFConfig(anchor_warmup=0)}
        model = wrap("han", streams=data.streams, num_classes=3, **options)
        config = TrainerConfig(epochs=2, batch_size=6, device="cpu", accumulate=accumulate)
        logged.append([entry["theta"] for entry in CoLeaFTrainer(model, config, quiet=True).fit(data)])
    for one, other in zip(*logged, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
        assert all(0 <= x <= 1 for x in one.values())
    alone = wrap("han", streams=data.streams, num_classes=3, anchor_options=SMALL, config=CoLeaFConfig(enabled=False))
    entry = CoLeaFTrainer(alone, TrainerConfig(epochs=1, device="cpu"), quiet=True).fit(data)[0]
    assert "theta" not in entry
    assert not any("theta" in name for name in entry["losses"])


def test_kept_answers_decide_as_the_evaluation_does_in_bf16(data_root: Path) -> None:
    """bfloat16 rounds 0.52 to 0.5195, so thresholds must be compared in one precision everywhere."""
    data = AVVPFolder(data_root, "val")
    made = CoLeaFTrainer(small_model(data), TrainerConfig(precision="bf16", device="cpu"), quiet=True)
    outputs = made.predict(data, truth=True)
    between = sorted(x for x in outputs.segment_probs.unique().tolist() if x > 0)
    for x in between[:: max(1, len(between) // 20)]:
        threshold = x + 1e-4  # above it, and below the next of bfloat16's steps
        made.decision = DecisionConfig(segment_threshold=threshold, gate_threshold=0.0)
        scores = all_scores(outputs.decided(made.decision), outputs.truth)
        assert dict(made.evaluate(data).scores) == pytest.approx(scores, nan_ok=True)
