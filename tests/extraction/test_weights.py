"""Published weights files: found by name, held to their digest, and never executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from coleaf_framework.extraction.weights import PublicWeights, find_weights, load_network, read_weights
from coleaf_framework.storage import file_digest
from tests.helpers.public_weights import save_public

WANTED = {
    "one": PublicWeights(("one-00000000.pth", "one-11111111.pth"), "https://example.org/"),
    "two": PublicWeights(("two-22222222.pth",), "https://example.org/models/"),
}


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"")


def test_the_first_name_that_is_there_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "one-11111111.pth", "two-22222222.pth")
    assert find_weights(WANTED, tmp_path)["one"].name == "one-11111111.pth"
    write(tmp_path, "one-00000000.pth")
    assert {name: path.name for name, path in find_weights(WANTED, tmp_path).items()} == {
        "one": "one-00000000.pth",
        "two": "two-22222222.pth",
    }


def test_every_missing_file_is_named_with_its_url(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        find_weights(WANTED, tmp_path)
    assert str(error.value) == (
        f"{tmp_path} lacks the weights of one (https://example.org/one-00000000.pth or "
        "https://example.org/one-11111111.pth), two (https://example.org/models/two-22222222.pth): download them into "
        "it"
    )


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere: no folder"):
        find_weights(WANTED, tmp_path / "nowhere")


def test_without_a_folder_torch_hubs_cache_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    with pytest.raises(FileNotFoundError, match=r"checkpoints \(torch hub's cache\) lacks"):
        find_weights(WANTED, None)
    cache.mkdir(parents=True)
    write(cache, "one-00000000.pth", "two-22222222.pth")
    assert find_weights(WANTED, None)["two"] == cache / "two-22222222.pth"


def test_a_given_folder_alone_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the cache is not what the user pointed at."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    write(tmp_path / "hub" / "checkpoints", "one-00000000.pth", "two-22222222.pth")
    (tmp_path / "given").mkdir()
    with pytest.raises(FileNotFoundError, match="given lacks"):
        find_weights(WANTED, tmp_path / "given")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_network_gets_the_weights_of_its_file(tmp_path: Path, zipped: bool) -> None:
    """Also of one in the format from before PyTorch 1.6, in which the older files are."""
    state = small().state_dict()
    path = save_public(state, tmp_path, "small", _use_new_zipfile_serialization=zipped)
    network, digest = load_network(small, path)
    assert digest == file_digest(path)
    assert not network.training
    for name, x in network.state_dict().items():
        torch.testing.assert_close(x, state[name], rtol=0, atol=0)
    assert network(torch.ones(1, 3)).shape == (1, 2)


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    path = save_public(small().state_dict(), tmp_path, "small")
    before = torch.get_rng_state()
    load_network(small, path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_file_of_another_digest_is_refused_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_public(small().state_dict(), tmp_path, "small").rename(tmp_path / "small-0123abcd.pth")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(ValueError, match=f"SHA-256 begins with {file_digest(path)[:8]}, where its name says 0123abcd"):
        read_weights(path)


def test_a_name_without_a_digest_is_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "small.pth")
    with pytest.raises(ValueError, match=r"small.pth: its name does not end with -HASH.pth"):
        read_weights(tmp_path / "small.pth")


class Harm:
    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("was executed",)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = save_public({"0.weight": Harm()}, tmp_path, "small")
    with pytest.raises(ValueError, match="not readable as PyTorch weights"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", pickle.dumps([1, 2], protocol=2)])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "small.pth"
    path.write_bytes(content)
    path = path.rename(tmp_path / f"small-{file_digest(path)[:8]}.pth")
    with pytest.raises(ValueError, match=f"{path.name}: not readable as PyTorch weights"):
        read_weights(path)


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no state dict"):
        read_weights(save_public({"epoch": 3}, tmp_path, "small"))


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    state = {name: x for name, x in small().state_dict().items() if not name.endswith("num_batches_tracked")}
    network, _ = load_network(small, save_public(state, tmp_path, "small"))
    assert network[1].num_batches_tracked == 0


def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    state = small().state_dict()
    del state["1.running_var"]
    with pytest.raises(ValueError, match=r"lacks '1.running_var', which Sequential has"):
        load_network(small, save_public(state, tmp_path, "small"))


def test_another_shape_is_named(tmp_path: Path) -> None:
    state = small().state_dict() | {"0.weight": torch.zeros(2, 4)}
    with pytest.raises(ValueError, match=r"'0.weight' has shape \(2, 4\), Sequential's \(2, 3\)"):
        load_network(small, save_public(state, tmp_path, "small"))


def test_what_the_network_has_not_is_refused_unless_it_is_known_to_be_unused(tmp_path: Path) -> None:
    path = save_public(small().state_dict() | {"fc.bias": torch.zeros(1)}, tmp_path, "small")
    with pytest.raises(ValueError, match=r"has 'fc.bias', which Sequential has not"):
        load_network(small, path)
    assert load_network(small, path, unused="fc.")[0].state_dict().keys() == small().state_dict().keys()
