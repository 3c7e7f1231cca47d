"""Models on the Hugging Face Hub, against a stand-in of its API."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from coleaf_framework import CoLeaF, load_anchor, wrap
from coleaf_framework.record.hub import RUN_FILES, find_run
from coleaf_framework.storage import read_yaml, write_yaml
from tests.helpers.hub import StandIn
from tests.helpers.networks import STREAMS, batch_of
from tests.helpers.training import same_weights

NAME = "ada/han-llp"


def model(seed: int = 0) -> CoLeaF:
    torch.manual_seed(seed)
    return wrap("han", streams=STREAMS, num_classes=3, anchor_options={"width": 8}).eval()


def pushed(hub: StandIn, seed: int = 0, **how: Any) -> tuple[CoLeaF, str]:
    """A model that was pushed, and its commit."""
    made = model(seed)
    return made, made.push_to_hub(NAME, **how).rpartition("/")[2]


def changed(hub: StandIn, tmp_path: Path, **options: Any) -> None:
    """Another commit, by somebody who edits config.yaml."""
    files = dict(hub.repositories[NAME].commits[hub.repositories[NAME].head])
    (tmp_path / "edited.yaml").write_bytes(files["config.yaml"])
    content = read_yaml(tmp_path / "edited.yaml")
    content["anchor"] |= options
    write_yaml(tmp_path / "edited.yaml", content)
    hub.repositories[NAME].commit(files | {"config.yaml": (tmp_path / "edited.yaml").read_bytes()})


def test_what_was_pushed_comes_back(hub: StandIn) -> None:
    made, _ = pushed(hub)
    assert same_weights(CoLeaF.from_pretrained(NAME).state_dict(), made.state_dict())


def test_the_anchor_alone_gives_the_answers_of_the_pushed_one(hub: StandIn) -> None:
    made, _ = pushed(hub)
    batch = batch_of()
    again = load_anchor(NAME)(**batch.streams)
    assert torch.equal(again.segment_probs, made.infer(batch).segment_probs)


def test_a_second_push_is_a_new_commit_and_the_first_can_still_be_loaded(hub: StandIn) -> None:
    first, commit = pushed(hub, 0)
    second, other = pushed(hub, 1)
    assert commit != other
    assert same_weights(CoLeaF.from_pretrained(NAME).state_dict(), second.state_dict())
    assert same_weights(CoLeaF.from_pretrained(NAME, revision=commit).state_dict(), first.state_dict())
    assert same_weights(load_anchor(f"{NAME}@{commit}").state_dict(), first.anchor.state_dict())


def test_a_push_deletes_an_earlier_ones_thresholds_and_nothing_of_somebody_elses(hub: StandIn) -> None:
    pushed(hub)
    repository = hub.repositories[NAME]
    repository.commit(repository.commits[repository.head] | {"decision.yaml": b"x", "picture.png": b"y"})
    pushed(hub, 1)
    assert set(repository.commits[repository.head]) == {"README.md", "config.yaml", "model.safetensors", "picture.png"}


def test_save_pretrained_writes_what_is_pushed(hub: StandIn, tmp_path: Path) -> None:
    made, commit = pushed(hub)
    made.save_pretrained(tmp_path / "han-llp")
    written = {path.name: path.read_bytes() for path in (tmp_path / "han-llp").iterdir()}
    files = hub.repositories[NAME].commits[commit]
    assert {name: x for name, x in written.items() if name != "README.md"} == {
        name: x for name, x in files.items() if name != "README.md"
    }
    assert same_weights(CoLeaF.from_pretrained(tmp_path / "han-llp").state_dict(), made.state_dict())


def test_a_private_repository_is_made_private_and_can_be_loaded_with_the_token(hub: StandIn) -> None:
    made, _ = pushed(hub, private=True)
    assert hub.repositories[NAME].private
    assert same_weights(load_anchor(NAME).state_dict(), made.anchor.state_dict())


def test_nothing_but_the_files_of_a_run_is_fetched(hub: StandIn) -> None:
    pushed(hub)
    repository, evil = hub.repositories[NAME], b"raise SystemExit"
    others = {"modeling.py": evil, "pytorch_model.bin": evil, "config.json": b'{"trust": true}', "../config.yaml": evil}
    repository.commit(repository.commits[repository.head] | others)
    load_anchor(NAME)
    assert hub.fetched() == {"config.yaml", "model.safetensors"} <= set(RUN_FILES)


def test_code_that_a_repository_names_is_not_imported(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_of_the_hub.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    pushed(hub)
    changed(hub, tmp_path, name="evil_of_the_hub:Net")
    repository = hub.repositories[NAME]
    repository.commit(repository.commits[repository.head] | {"config.json": b'{"trust": true}'})
    for load in (CoLeaF.from_pretrained, load_anchor):
        with pytest.raises(ValueError, match="code that is no plugin and would be imported: pass --trust"):
            load(NAME)
    with pytest.raises(ValueError, match="does not import: SystemExit: imported"):  # it is there, and was not imported
        load_anchor(NAME, trust=True)


def test_a_repository_with_a_pickle_in_place_of_the_weights_is_refused_unfetched(hub: StandIn) -> None:
    pushed(hub)
    repository = hub.repositories[NAME]
    repository.commit({"config.yaml": b"model: 1", "pytorch_model.bin": b"x"})
    with pytest.raises(ValueError, match=r"no model\.safetensors, but pytorch_model\.bin, a pickle, which .* never"):
        load_anchor(NAME)
    assert hub.fetched() == set()


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_file_that_would_fill_the_disk_is_refused_unfetched(hub: StandIn, name: str) -> None:
    pushed(hub)
    hub.repositories[NAME].sizes[name] = 1 << 40
    with pytest.raises(ValueError, match=rf"its {name} has 1,048,576 MiB, more than"):
        load_anchor(NAME)
    assert hub.fetched() == set()


def test_a_changed_bit_of_the_weights_is_noticed(hub: StandIn) -> None:
    pushed(hub)
    repository = hub.repositories[NAME]
    files = repository.commits[repository.head]
    weights = bytearray(files["model.safetensors"])
    weights[-1] ^= 1
    repository.commit(files | {"model.safetensors": bytes(weights)})
    with pytest.raises(ValueError, match="its checksum does not fit its content"):
        load_anchor(NAME)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ("GatedRepo", PermissionError, "the repository is gated: ask for access on its page"),
        ("Forbidden", PermissionError, "the Hub does not accept the token"),
    ],
)
def test_a_repository_that_may_not_be_read_is_told(hub: StandIn, error: str, kind: type[Exception], words: str) -> None:
    pushed(hub)
    load_anchor(NAME)  # so that the cache has it, which then is not taken without a word
    hub.repositories[NAME].error = error
    with pytest.raises(kind, match=words):
        load_anchor(NAME)


def test_an_unknown_repository_and_an_unknown_revision_are_told(hub: StandIn) -> None:
    pushed(hub)
    with pytest.raises(FileNotFoundError, match="ada/nothing: there is no such folder here, and no such repository"):
        load_anchor("ada/nothing")
    with pytest.raises(FileNotFoundError, match=f"{NAME}@v2: the repository has no such branch, tag or commit"):
        load_anchor(f"{NAME}@v2")


@pytest.mark.parametrize(
    "name", ["https://huggingface.co/ada/han-llp", "hf:///ada/han-llp", "HF://ada/han-llp", "hf://models/ada/han-llp"]
)
def test_an_address_that_is_no_repositorys_is_not_taken_for_a_missing_folder(hub: StandIn, name: str) -> None:
    with pytest.raises(ValueError, match=r"expected user/name, user/name@revision or hf://user/name"):
        load_anchor(name)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["runs/han--x", "runs/a..b", "runs/han.git", "ru--ns/han"])
def test_a_path_that_no_repository_can_have_is_a_missing_folder(hub: StandIn, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{name}/config\.yaml: no such file"):
        load_anchor(name)
    assert hub.requests == []


def test_a_repository_that_is_fetched_in_part_is_refused(hub: StandIn) -> None:
    """Without its log, caveats would be lost."""
    pushed(hub)
    load_anchor(NAME)  # the cache has this commit from now on
    repository = hub.repositories[NAME]
    repository.sizes["log.jsonl"] = 10
    with pytest.raises(OSError, match=r"could not be fetched whole: log\.jsonl is missing"):
        load_anchor(NAME)


def test_while_the_hub_is_down_the_cached_commit_is_taken_and_named(
    hub: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    made, commit = pushed(hub)
    load_anchor(NAME)
    hub.broken = True
    with caplog.at_level(logging.WARNING):
        again = load_anchor(NAME)
    assert same_weights(again.state_dict(), made.anchor.state_dict())
    assert "the Hub cannot be reached" in caplog.text
    assert f"taking commit {commit} from its cache" in caplog.text


def test_while_the_hub_is_down_what_is_not_cached_is_told(hub: StandIn) -> None:
    pushed(hub)
    hub.broken = True
    with pytest.raises(FileNotFoundError, match=f"{NAME}: the Hub cannot be reached .*503.*, and its cache .* lacks"):
        load_anchor(NAME)


def test_the_cache_alone_is_taken_without_a_request(hub: StandIn) -> None:
    made, _ = pushed(hub)
    load_anchor(NAME)
    hub.requests.clear()
    again = CoLeaF.from_pretrained(NAME, local_files_only=True)
    assert same_weights(again.state_dict(), made.state_dict())
    assert hub.requests == []


def test_a_folder_goes_before_a_repository_of_its_name(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(hub, 0)
    monkeypatch.chdir(tmp_path)
    local = model(1)
    local.save(Path(NAME))
    assert same_weights(load_anchor(NAME).state_dict(), local.anchor.state_dict())
    assert same_weights(load_anchor(f"hf://{NAME}").state_dict(), model(0).anchor.state_dict())


def test_a_misspelt_folder_is_not_asked_for_on_the_hub(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    with pytest.raises(FileNotFoundError, match=r"runs/hna/config\.yaml: no such file"):
        load_anchor("runs/hna")
    assert hub.requests == []


def test_a_revision_of_a_folder_and_a_second_revision_are_refused(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this is a folder"):
        CoLeaF.from_pretrained(tmp_path, revision="v1")
    with pytest.raises(ValueError, match="leave out one of them"):
        find_run(f"{NAME}@v1", revision="v2")


def test_a_push_without_a_valid_token_says_how_to_log_in(hub: StandIn) -> None:
    with pytest.raises(PermissionError, match=f"{NAME}: the Hub wants a token that may write there: `hf auth login`"):
        pushed(hub, token="hf_another")
    assert hub.repositories == {}


def test_a_push_to_an_unknown_branch_says_how_to_make_it(hub: StandIn) -> None:
    pushed(hub)
    with pytest.raises(FileNotFoundError, match=f"has no branch 'v2': `hf repos branch create {NAME} v2`"):
        pushed(hub, branch="v2")


@pytest.mark.parametrize("name", ["han", "a/b/c", "ada/../han", "ada/", "ada/h n", "/ada/han"])
def test_a_name_that_is_no_repositorys_is_refused_before_a_request(hub: StandIn, name: str) -> None:
    with pytest.raises(ValueError, match="expected user/name"):
        model().push_to_hub(name)
    assert hub.requests == []


def test_without_the_library_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"no such folder here.* pip install 'coleaf-framework\[hub\]'"):
        load_anchor(NAME)


def test_importing_the_model_does_not_import_the_library() -> None:
    package = Path(sys.modules["coleaf_framework"].__file__ or "").parent
    imported = ("import huggingface_hub", "from huggingface_hub")
    assert [path for path in package.rglob("*.py") if any(line in path.read_text() for line in imported)] == []
