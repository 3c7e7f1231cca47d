"""Plugins by entry points: names, clashes, broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from coleaf_framework import create_anchor, create_reference, list_anchors, list_references, plugins
from tests.helpers.plugins import install, make_site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path in which distributions can be installed."""
    return make_site(tmp_path, monkeypatch)


def test_what_ships_is_found() -> None:
    assert "han" in list_anchors()
    assert "class_token" in list_references()
    by_name = {plugin.name: plugin for plugin in plugins.list_plugins("anchor")}
    assert by_name["han"].distribution.startswith("coleaf")
    assert by_name["han"].error is None


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no anchor is called 'hat'. Did you mean 'han'\? Known anchors: .*han"):
        create_anchor("hat")
    with pytest.raises(ValueError, match="Known references: .*class_token"):
        create_reference("x")


def test_wrong_options_are_named() -> None:
    with pytest.raises(TypeError, match="anchor 'han' cannot be made from .*'widht'. Did you mean 'width'"):
        create_anchor("han", widht=8)


def test_a_constructor_may_have_an_argument_called_name(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "named_net.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self, name, kind=2):\n        super().__init__()\n        self.own = name, kind\n"
    )
    monkeypatch.chdir(site)
    assert create_anchor("named_net:Net", name=1).own == (1, 2)  # type: ignore[arg-type]
    assert create_anchor("named_net:Net", name=1, kind=3).own == (1, 3)  # type: ignore[arg-type]


def test_two_plugins_of_one_name_are_both_named(site: Path) -> None:
    install(site, "rival", "han = rival:HAN")
    with pytest.raises(ValueError, match=r"declared by coleaf.* and rival 1\.0 \(rival:HAN\): uninstall one"):
        create_anchor("han")
    assert all("2 times" in str(p.error) for p in plugins.list_plugins("anchor") if p.name == "han")


def test_a_broken_plugin_breaks_only_itself(site: Path) -> None:
    (site / "broken_net.py").write_text("import a_module_that_is_not_there\n")
    install(site, "broken", "broken = broken_net:Net")
    create_anchor("han", width=8)
    with pytest.raises(ImportError, match=r"anchor 'broken' \(broken_net:Net, from broken 1\.0\) does not import"):
        create_anchor("broken")
    states = {p.name: p.error for p in plugins.list_plugins("anchor")}
    assert "a_module_that_is_not_there" in str(states["broken"])
    assert states["han"] is None


def test_something_that_is_no_network_is_refused(site: Path) -> None:
    install(site, "odd", "odd = builtins:dict")
    with pytest.raises(TypeError, match=r"anchor 'odd' made a dict, not a torch\.nn\.Module"):
        create_anchor("odd")


def test_paper_and_licence_are_those_of_the_class_where_it_tells_them(site: Path) -> None:
    (site / "silent_net.py").write_text("class Net: ...\nclass Odd:\n    paper, licence = 3, '  '\n")
    install(site, "silent", "silent = silent_net:Net\nodd = silent_net:Odd\nbroken = silent_net:Gone")
    found = {p.name: p for p in plugins.list_plugins("anchor")}
    assert "Unified Multisensory Perception" in str(found["han"].paper)
    assert found["han"].licence == "none stated"
    for name in ("silent", "odd", "broken"):
        assert (found[name].paper, found[name].licence) == (None, None)


@pytest.mark.parametrize("kind", ["anchor", "reference"])
def test_what_ships_tells_its_paper_and_its_licence(kind: str) -> None:
    found = [plugin for plugin in plugins.list_plugins(kind) if plugin.error is None]
    assert found
    for plugin in found:
        assert plugin.paper, plugin.name
        assert plugin.licence, plugin.name
