"""Declaration files: what they hold, what they refuse, and runs that are made from them."""

from __future__ import annotations

import dataclasses
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework import CoLeaF, Constant, Out, StreamSpec, Tap, read_declaration, wrap, write_declaration
from coleaf_framework.adapters import Declaration, DeclarationFile, WrapArguments
from coleaf_framework.plugins import create_anchor
from coleaf_framework.record.migration import migrated
from coleaf_framework.record.settings import load_config
from coleaf_framework.storage import read_yaml, yaml_lines
from tests.helpers.command import Command
from tests.helpers.networks import NUM_CLASSES as C
from tests.helpers.networks import STREAMS, TinyNet, batch_of

FAST = [
    x
    for setting in ("trainer.epochs=1", "trainer.batch_size=4", "trainer.device=cpu", "trainer.monitor=[]")
    for x in ("--set", setting)
]
# Takes visual first and a factor per video, returns logits of two heads and of a background class, and no tokens.
THEIRS = """
import torch
from argparse import Namespace
from torch import nn
class Theirs(nn.Module):
    streams = 2
    def __init__(self, args):
        super().__init__()
        self.num_classes = args.classes + 1
        self.a, self.v = nn.Linear(6, args.dim), nn.Linear(8, args.dim)
        self.encoder, self.head = nn.Linear(args.dim, args.dim), nn.Linear(args.dim, 2 * self.num_classes)
    def forward(self, v, a, factor):
        x = torch.stack([self.v(v.unflatten(1, (-1, 2)).mean(2)), self.a(a)], 2)
        y = self.head(self.encoder(x + 0.3 * x.flip(2))) * factor[:, None, None, None]
        return {"heads": y.unflatten(-1, (2, -1)).transpose(2, 3)}
def make(num_classes, dim=8):
    return Theirs(Namespace(classes=num_classes, dim=dim))
def number():
    return 3
def adapter(net, streams):
    heads = net(streams["visual"], streams["audio"], torch.ones(len(streams["audio"])))["heads"]
    probs = heads[:, :, 0].flip(2)[..., :-1].sigmoid()
    return {"segment_probs": probs, "video_probs": probs.mean((1, 2))}
made = make(3)
"""
STREAMS_TEXT = """
streams:
  audio: {width: 6, modality: audio}
  visual: {width: 8, modality: visual, frames: 2}
"""
WRAP = f"""
network: theirs_net:Theirs
arguments:
  args: {{namespace: {{dim: 8, classes: 3}}}}
{STREAMS_TEXT}
num_classes: 3
outputs:
  segment_probs: {{path: heads, layout: b t k m c, kind: logits, order: [visual, audio], select: {{k: 0, c: 0:3}}}}
  video_probs: derive
  modality_probs: derive
tokens: {{tap: encoder, order: [visual, audio]}}
inputs: {{v: visual, a: audio, factor: {{constant: 1.0, repeat: b}}}}
"""
FACTORY = f"""
network: theirs_net:make
arguments: {{dim: 10}}
adapter: theirs_net:adapter
tokens: {{tap: encoder, order: [visual, audio]}}
{STREAMS_TEXT}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a network of somebody's own and its declaration files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs_net", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in {"theirs_net.py": THEIRS, "wrap.yaml": WRAP, "factory.yaml": FACTORY}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


paths = st.integers(-3, 9) | st.from_regex(r"[a-z]{1,6}(\.[0-9a-z]{1,3})?", fullmatch=True)
indices = st.integers(-2, 3) | st.sampled_from(["0:25", "1:25", ":-1", "2:"])
orders = st.sampled_from([("audio", "visual"), ("visual", "audio")])
reductions = st.sampled_from([None, "mean", "max", "sum"])
selections = st.none() | st.dictionaries(st.sampled_from(["k", "c"]), indices, max_size=2)
outs = st.one_of(
    st.builds(
        Out, paths, layout=st.sampled_from([None, "b t k m c"]), kind=st.sampled_from(["probs", "logits"]),
        order=orders, reduce=reductions,
    ),
    st.builds(Out, paths, layout=st.just("b t k m c"), select=selections),
    st.builds(
        Out, paths, visual=paths, kind=st.just("evidence"), absence=st.tuples(paths, paths),
        select=st.none() | st.fixed_dictionaries({"c": st.tuples(indices, indices)}),
    ),
)  # fmt: skip
taps = st.one_of(
    st.builds(
        Tap, st.from_regex(r"[a-z]{1,5}(\.[0-9])?", fullmatch=True), at=st.sampled_from(["input", "output"]),
        call=st.integers(-2, 3) | st.sampled_from(["only", "last"]), order=orders, reduce=reductions,
        part=st.none() | paths | st.tuples(paths, paths),
    ),
    st.builds(
        Tap, st.just("x"), call=st.just({"audio": 0, "visual": 1}), layout=st.just("b k c t d"), select=selections,
    ),
    st.builds(Tap, st.just("x"), call=st.just((0, 1)), combine=st.tuples(st.floats(0, 1), st.floats(0, 1))),
)  # fmt: skip
values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.floats(-1, 1)),
    st.lists(st.integers(-9, 9), min_size=1, max_size=5).map(torch.tensor),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=5).map(lambda x: torch.tensor(x, dtype=torch.float64)),
)  # fmt: skip
constants = st.builds(Constant, values) | st.builds(Constant, st.floats(-1, 1), st.sampled_from(["b", "b t"]))
arguments = st.sampled_from(["audio", "visual", "mask"]) | constants


def plain(value: Any) -> Any:
    """A declared value in a form that can be compared, since tensors cannot."""
    if isinstance(value, Out | Tap | Constant):
        return type(value), {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {key: plain(x) for key, x in value.items()}
    return [plain(x) for x in value] if isinstance(value, list | tuple) else value


@given(
    st.fixed_dictionaries(
        {
            "outputs": st.none()
            | st.fixed_dictionaries(
                {"segment_probs": outs, "video_probs": outs | st.just("derive"), "modality_probs": outs}
            ),
            "tokens": outs | taps | st.tuples(taps, taps),
            "inputs": st.none()
            | st.lists(arguments, max_size=4)
            | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), arguments, max_size=4),
            "follow_device": st.booleans(),
            "segments": st.none() | st.integers(1, 20),
            "num_classes": st.none() | st.integers(1, 20),
            "streams": st.just(STREAMS),
        }
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, declared: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("declared") / "wrap.yaml"
    options = {"width": 8, "args": Namespace(a=[1, {"b": 2}], inner=Namespace(c="x"))}
    written = write_declaration(path, "nets:Net", options, declared)
    again = read_declaration(path)
    assert again == written
    assert (again.network, again.arguments["args"]["namespace"]["inner"]) == ("nets:Net", {"namespace": {"c": "x"}})
    expected = {key: x for key, x in declared.items() if x is not None and x is not False}
    assert plain(again.wrap_arguments()) == plain(expected)
    assert WrapArguments(**again.declared.model_dump()) == again.declared


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("network: ", "netwrk: ", "line 2: the file has no key 'netwrk'. Did you mean 'network'?"),
        ("network: theirs_net:Theirs", "network: other.yaml", "line 2: network: 'other.yaml' is a declaration file it"),
        ("network: theirs_net:Theirs", "segments: 0", "line 2: segments: Input should be greater"),
        ("network: theirs_net:Theirs", "", "the key 'network' is missing"),
        ("arguments:\n", "arguments:\n  no-name: 1\n", "line 4: arguments.no-name: 'no-name' cannot be the name"),
        ("width: 6", "width: six", "line 7: streams.audio.width: Input should be a valid integer"),
        ("segment_probs:", "segment_prob:", "line 12: outputs.segment_prob: outputs has no field 'segment_prob'. Did"),
        ("kind: logits", "knd: logits", "line 12: outputs.segment_probs.knd: unknown key 'knd'. Did you mean 'kind'?"),
        ("kind: logits", "kind: logit", "line 12: outputs.segment_probs.kind: Out: kind 'logit' is not one of"),
        ("k: 0,", "h: 0,", "line 12: outputs.segment_probs.select: Out: select names the axis 'h'"),
        ("video_probs: derive", "video_probs: 1.5", "line 13: outputs.video_probs: 1.5 is not an output"),
        ("video_probs: derive", "video_probs: {pth: 1}", "line 13: outputs.video_probs: an output needs its `path`"),
        ("{tap: encoder,", "{tp: encoder,", "line 15: tokens: expected {tap: SUBMODULE}"),
        ("{tap: encoder,", "{tap: encoder, att: x,", "line 15: tokens.att: unknown key 'att'. Did you mean 'at'?"),
        ("a: audio", "a: audo", "line 16: inputs: 'audo' is no stream. Did you mean 'audio'?"),
        ("a: audio", "a: 3", "line 16: inputs.a: 3 is not the name of a stream: a constant is {constant: 3}"),
        ("constant: 1.0", "constnt: 1.0", "line 16: inputs.factor: expected {constant: VALUE}"),
        ("constant: 1.0", "constant: {tensor: [[1], 2]}", "inputs.factor.constant.tensor: [[1], 2] is no number or"),
        ("repeat: b", "repeat: t", "line 16: inputs.factor.repeat: Constant: repeat='t' is neither"),
        ("num_classes: 3", "adapter: theirs_net.f", "line 10: adapter: 'theirs_net.f' is no function's name"),
        ("num_classes: 3", "adapter: theirs_net:f", "line 11: adapter and outputs exclude each other"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(files: Path, old: str, new: str, told: str) -> None:
    assert old in WRAP
    (files / "wrong.yaml").write_text(WRAP.replace(old, new, 1))
    with pytest.raises(ValueError, match="wrong.yaml") as failed:
        read_declaration("wrong.yaml")
    assert told in str(failed.value)


def test_a_file_that_is_not_there_or_not_a_mapping_is_named(files: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        wrap("nowhere.yaml")
    (files / "list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match=r"list\.yaml: expected a YAML mapping"):
        wrap("list.yaml")


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"outptus": {}}, "'outptus' is no argument that a declaration file holds. Did you mean 'outputs'"),
        ({"adapter": lambda net, streams: None}, "adapter is .* cannot be imported"),
        ({"inputs": ["audio", Constant(torch.zeros(1001))]}, r"the constant 1 is a tensor of shape \(1001,\)"),
        ({"inputs": {"x": Constant(object())}}, "the constant 'x' is <object"),
        ({"segments": 0}, "segments: Input should be greater"),
    ],
)
def test_what_no_file_can_hold_is_refused(tmp_path: Path, declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_declaration(tmp_path / "wrap.yaml", "han", None, declared)
    assert not (tmp_path / "wrap.yaml").exists()


def test_a_name_and_arguments_of_a_file_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.yaml or \.yml"):
        write_declaration(tmp_path / "wrap.txt", "han")
    with pytest.raises(ValueError, match="the argument 'x' is <object"):
        write_declaration(tmp_path / "wrap.yaml", "han", {"x": object()})


def test_a_number_with_a_colon_is_a_text() -> None:
    assert load_config(settings=["anchor.options.x=1:25"]).anchor.options == {"x": "1:25"}
    assert yaml_lines("a: 1\nb:\n  - c: 2\n") == {("a",): 1, ("b",): 2, ("b", "0"): 3, ("b", "0", "c"): 3}


def test_wrap_takes_a_file(files: Path) -> None:
    model = wrap("wrap.yaml", streams={**STREAMS, "more": StreamSpec(3, "visual")}, num_classes=C)
    assert list(model.streams) == ["audio", "visual"]
    assert model.infer(batch_of()).segment_probs.shape == (4, 5, 2, C)
    file = read_declaration("wrap.yaml")
    assert isinstance(file, DeclarationFile)
    for made in (model, wrap(file)):
        assert isinstance(made.adapter, Declaration)
        assert made.adapter.taps == (Tap("encoder", order=("visual", "audio")),)
    model.save(files / "saved")
    loaded = CoLeaF.load(files / "saved", trust=True)
    torch.testing.assert_close(loaded.infer(batch_of(2)).tokens.shape, (2, 5, 2, 8))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"streams": {"audio": STREAMS["audio"]}}, "wrap.yaml: takes the stream 'visual', which the data do not have"),
        (
            {"streams": STREAMS | {"audio": StreamSpec(7, "audio")}},
            "wrap.yaml: declares audio as audio of width 6 .* but the data have audio of width 7",
        ),
        ({"num_classes": 4}, "wrap.yaml: num_classes is 3, where 4 was given or is the data's"),
        ({"tokens": 3}, "wrap.yaml: declares tokens, which was given to wrap too"),
    ],
)
def test_what_does_not_fit_a_file_is_named(files: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrap("wrap.yaml", **given)


def test_networks_are_made_by_functions_too(files: Path) -> None:
    import theirs_net  # type: ignore[import-not-found]

    how = {"adapter": theirs_net.adapter, "tokens": Tap("encoder", order=("visual", "audio")), "streams": STREAMS}
    model = wrap(theirs_net.make, num_classes=C, anchor_options={"dim": 10}, **how)
    assert model.record is not None
    assert (model.record.anchor.name, model.record.anchor.options) == ("theirs_net:make", {"dim": 10})
    assert type(create_anchor("theirs_net:make", num_classes=C, streams=STREAMS)) is theirs_net.Theirs
    with pytest.raises(TypeError, match="number made a int, not a torch.nn.Module"):
        wrap(theirs_net.number, **how)
    with pytest.raises(ValueError, match="'theirs_net:number' made a int"):
        wrap("theirs_net:number", **how)
    with pytest.raises(ValueError, match="a network that is made already: name its class, or a function that"):
        wrap("theirs_net:made")
    with pytest.raises(ValueError, match=r"adapter theirs_net:adaptr: theirs_net has no function 'adaptr'. Did you"):
        WrapArguments(adapter="theirs_net:adaptr").wrap_arguments()


def test_a_class_from_python_comes_back_with_its_options(files: Path) -> None:
    import theirs_net

    declared = read_declaration("wrap.yaml").wrap_arguments()
    args = Namespace(dim=8, classes=3)
    model = wrap(theirs_net.Theirs, anchor_options={"args": args}, **declared)
    model.save(files / "saved")
    assert read_yaml(files / "saved/config.yaml")["anchor"]["options"] == {
        "args": {"namespace": {"dim": 8, "classes": 3}}
    }
    with pytest.raises(ValueError, match="'theirs_net:Theirs', code that is no plugin and would be imported"):
        CoLeaF.load(files / "saved")
    assert type(CoLeaF.load(files / "saved", trust=True).anchor) is theirs_net.Theirs


def test_nothing_makes_a_class_again_without_the_adapter_that_no_file_can_hold(files: Path) -> None:
    import theirs_net

    given = {"adapter": lambda *x: theirs_net.adapter(*x), "tokens": Tap("encoder", order=("visual", "audio"))}
    model = wrap(theirs_net.make, num_classes=C, streams=STREAMS, **given)
    assert model.record is not None
    assert (model.record.anchor.name, model.record.model.adapter) == (None, True)
    model.save(files / "saved")
    with pytest.raises(ValueError, match=r"Theirs, not a plugin: pass anchor=<that network>"):
        CoLeaF.load(files / "saved", trust=True)


@pytest.mark.parametrize("what", ["adapter", "loss"])
def test_a_record_of_a_plugin_with_code_that_no_file_holds_is_not_trained_again(tmp_path: Path, what: str) -> None:
    (tmp_path / "config.yaml").write_text(f"anchor: {{name: han}}\nmodel: {{{what}: true}}\n")
    with pytest.raises(ValueError, match=rf"config.yaml: its Anchor was wrapped with {what}=<code> that no file"):
        load_config(tmp_path / "config.yaml", trust=True)


def test_what_stands_beside_the_name_of_a_file_belongs_into_it(files: Path) -> None:
    (files / "c.yaml").write_text("anchor: {name: wrap.yaml, declaration: {segments: 3}}\n")
    with pytest.raises(ValueError, match=r"c.yaml: .* file wrap.yaml, so anchor.declaration belongs into it"):
        load_config("c.yaml", trust=True)
    assert load_config("c.yaml", ["anchor.name=wrap.yaml"]).anchor.name == "theirs_net:Theirs"


def test_a_run_is_not_scored_with_other_outputs_than_its_own(coleaf: Command, files: Path, data_root: Path) -> None:
    coleaf("train", "--anchor", "wrap.yaml", "--data", data_root, "--out", "run", *FAST)
    assert "Theirs in CoLeaF" in coleaf("evaluate", "run", "--anchor", "wrap.yaml")
    (files / "other.yaml").write_text(WRAP.replace("k: 0", "k: 1"))
    told = coleaf("evaluate", "run", "--anchor", "other.yaml", fails=True)
    assert "other.yaml: declares other outputs, tokens, inputs, adapter or segments than the run was" in told


def test_a_local_class_cannot_come_back_by_itself(tmp_path: Path) -> None:
    class Local(TinyNet):
        pass

    wrap(Local).save(tmp_path)
    with pytest.raises(ValueError, match="Local, a class of a script or of a function, which cannot be imported: pass"):
        CoLeaF.load(tmp_path, trust=True)
    assert isinstance(CoLeaF.load(tmp_path, anchor=Local()).anchor, Local)


def test_a_record_of_the_earlier_spelling_is_read() -> None:
    adapter = {
        "outputs": {"segment_probs": {"out": {"path": 3, "kind": "logits"}}, "video_probs": "derive"},
        "tokens": [{"tap": {"path": "encoder", "call": {"audio": 0, "visual": 1}}}],
        "inputs": {"x": "audio", "y": {"constant": True}},
        "follow_device": False,
    }
    assert migrated({"model": {"adapter": adapter}})["model"]["adapter"] == {
        "outputs": {"segment_probs": {"path": 3, "kind": "logits"}, "video_probs": "derive"},
        "tokens": {"tap": "encoder", "call": {"audio": 0, "visual": 1}},
        "inputs": {"x": "audio", "y": {"constant": True}},
        "follow_device": False,
    }
    new = migrated({"model": {"adapter": adapter}})
    assert migrated(new) == new


def test_a_run_of_a_file_needs_the_file_no_more(coleaf: Command, files: Path, data_root: Path) -> None:
    coleaf("train", "--anchor", "wrap.yaml", "--data", data_root, "--out", "run", *FAST)
    (files / "wrap.yaml").unlink()
    assert "'theirs_net:Theirs', code that is no plugin" in coleaf("evaluate", "run", fails=True)
    assert "Theirs in CoLeaF" in coleaf("evaluate", "run", "--trust")
    assert "in 3 videos" in coleaf("predict", "run", "--trust")
    coleaf("thresholds", "run", "--trust")
    more = ("train", "--resume", "--out", "run", "--set", "trainer.epochs=2")
    assert "--set anchor.name=theirs_net:Theirs" in coleaf(*more, fails=True)
    coleaf(*more, "--trust")
    (files / "wrap.yaml").write_text(WRAP)
    coleaf(*more[:-1], "trainer.epochs=3", "--anchor", "wrap.yaml")
    (files / "wrap.yaml").write_text(WRAP.replace("k: 0", "k: 1"))
    changed = coleaf(*more[:-1], "trainer.epochs=4", "--anchor", "wrap.yaml", fails=True)
    assert "the run to resume has anchor.declaration" in changed


def test_code_that_a_file_of_a_configuration_names_must_be_trusted(
    coleaf: Command, files: Path, data_root: Path
) -> None:
    (files / "c.yaml").write_text("anchor: {name: factory.yaml, options: {dim: 12}}\n")
    flops = ("flops", "--data", data_root, "--videos", 1, "--config", "c.yaml")
    assert "its anchor is 'theirs_net:make', code that is no plugin" in coleaf(*flops, fails=True)
    assert "Theirs in CoLeaF, inference" in coleaf(*flops, "--trust")
    (files / "plugin.yaml").write_text("network: han\narguments: {width: 8}\nadapter: theirs_net:adapter\n")
    (files / "c.yaml").write_text("anchor: {name: plugin.yaml}\n")
    assert "its anchor's adapter is 'theirs_net:adapter', code that would be" in coleaf(*flops, fails=True)
    assert "its anchor's adapter is" in coleaf(*flops, "--set", "anchor.options.width=4", fails=True)
    resolved = load_config("c.yaml", ["anchor.name=factory.yaml", "anchor.options.dim=5"]).anchor
    assert (resolved.name, resolved.options) == ("theirs_net:make", {"dim": 5})
    (files / "run.yaml").write_text("anchor: {name: han, declaration: {segments: 3}}\n")
    assert load_config("run.yaml").anchor.declaration == WrapArguments(segments=3)
    assert load_config("run.yaml", ["anchor.name=cmpae"]).anchor.declaration is None


def test_files_and_names_are_compared(coleaf: Command, files: Path, data_root: Path) -> None:
    (files / "other").mkdir()
    (files / "other/wrap.yaml").write_text(WRAP)
    compare = ("compare", "--data", data_root, "--split", "val", "--seeds", 1, "--out", "grid", *FAST)
    twice = coleaf(*compare, "--anchors", "wrap.yaml,other/wrap.yaml", fails=True)
    assert "two have the same name in their folders: rename a file" in twice
    table = coleaf(*compare, "--anchors", "factory.yaml,han", "--set", "han:anchor.options.width=8")
    assert "Theirs in CoLeaF" in table
    assert "HAN alone" in table
    assert (files / "grid/factory-coleaf-seed0/config.yaml").is_file()


def test_a_network_that_was_made_in_python_is_made_again_by_a_file(
    coleaf: Command, files: Path, data_root: Path
) -> None:
    import theirs_net

    from coleaf_framework import CoLeaFTrainer, TrainerConfig
    from coleaf_framework.data import AVVPFolder

    net = theirs_net.Theirs(Namespace(dim=8, classes=3))
    model = wrap(net, **read_declaration("wrap.yaml").wrap_arguments())
    config = TrainerConfig(epochs=1, batch_size=4, device="cpu", monitor=())
    CoLeaFTrainer(model, config, out="run", quiet=True).fit(AVVPFolder(data_root, "train"))
    score = ("evaluate", "run", "--data", data_root)
    assert "on the command line --anchor with a declaration file (wrap.yaml)" in coleaf(*score, "--trust", fails=True)
    assert "Theirs in CoLeaF" in coleaf(*score, "--anchor", "wrap.yaml")
    assert "--anchor han: expected a declaration file" in coleaf(*score, "--anchor", "han", fails=True)
    (files / "small.yaml").write_text(WRAP.replace("dim: 8", "dim: 4"))
    assert "does not fit Theirs with 3 classes" in coleaf(*score, "--anchor", "small.yaml", fails=True)
