"""Models in folders and on the Hugging Face Hub, under the names that huggingface_hub's mixin gives the methods.

The mixin itself is made where it is needed (`record.pushing`): its library is an extra, and takes long to import. Its
own `from_pretrained` is not used, since it reads a config.json of the repository and passes the keys on as arguments,
with which a repository could set `trust`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from coleaf_framework.adapters import Adapter
from coleaf_framework.collaboration import RawLoss
from coleaf_framework.model.parts import read_parts
from coleaf_framework.model.recorded import require_adapter, require_record
from coleaf_framework.record.card import model_card
from coleaf_framework.record.hub import find_run
from coleaf_framework.record.publishing import publishable
from coleaf_framework.record.pushing import CARD, push_folder, require_repository_id
from coleaf_framework.record.run_record import RunRecord
from coleaf_framework.storage import WEIGHTS, write_tensors, write_text

if TYPE_CHECKING:
    from typing_extensions import Self


class PersistentModule(nn.Module):
    """How a `CoLeaF` is written and read."""

    record: RunRecord | None
    adapter: Adapter | None

    def save(self, directory: Path | str) -> None:
        """Write `config.yaml` (the record, from which networks are rebuilt) and `model.safetensors`, each atomically.

        Raises:
            ValueError: the model was not made by `wrap` or `load`, so it has no record.
        """
        require_record(self).write(Path(directory))
        write_tensors(Path(directory) / WEIGHTS, self.state_dict())

    @classmethod
    def load(
        cls,
        directory: Path | str,
        *,
        anchor: nn.Module | None = None,
        adapter: Adapter | None = None,
        loss: RawLoss | None = None,
        trust: bool = False,
    ) -> Self:
        """The model that `save` or a training run wrote, on the CPU, in evaluation mode.

        Args:
            directory: holds `config.yaml` and `model.safetensors`.
            anchor: the network to fill, where a network was passed to `wrap`, or a class that cannot be imported.
            adapter: as it was passed to `wrap`; a declaration (`outputs`, `tokens`, `inputs`) comes back by itself,
                and with `trust` a module's function too.
            loss: as it was passed to `wrap`. Without it and without `trust`, the model answers but cannot be trained.
            trust: whether code that the folder names and that is no plugin, "module:Class", may be imported.

        Returns:
            Model with the saved weights and record, and with a Reference where one was saved.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, or the weights do not fit the networks; names both. Or code is not trusted.
        """
        parts = read_parts(Path(directory), anchor=anchor, adapter=adapter, loss=loss, trust=trust)
        model = cls(parts.anchor, parts.reference, **parts.arguments)
        parts.fill(model)
        require_adapter(model, directory)
        return model.eval()

    def save_pretrained(self, save_directory: Path | str, *, card: str | None = None) -> None:
        """Write what `push_to_hub` pushes: config.yaml without paths of this machine, the weights, and README.md.

        Args:
            save_directory: the folder.
            card: the README.md; if None, what the model's record says.

        Raises:
            ImportError: huggingface_hub is not installed, which writes the card.
            ValueError: the model has no record, or its record names a file of this machine that the networks need.
        """
        self._write(Path(save_directory), Path(save_directory).name, card)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: str | None = None,
        commit_message: str = "Push a model of coleaf_framework",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Push the model, Anchor and Reference, to a repository, which is created if it does not exist.

        A run folder is better pushed by `coleaf push RUN user/name`, whose card has the scores.

        Args:
            repo_id: "user/name".
            card: as in `save_pretrained`.
            commit_message: of the commit.
            private: whether a repository that is made is private; the account's default if None.
            token: the one that `hf auth login` or HF_TOKEN gave if None.
            branch: to push to; "main" if None.
            create_pr: whether to make a pull request of it.

        Returns:
            The address of the commit, which ends in its hash.

        Raises:
            ImportError: huggingface_hub is not installed.
            OSError: the Hub cannot be reached, or refuses.
            ValueError: as in `save_pretrained`, or `repo_id` has another form.
        """
        require_repository_id(repo_id)
        with tempfile.TemporaryDirectory(prefix="coleaf-push-") as temporary:
            self._write(Path(temporary), repo_id, card)
            return push_folder(
                Path(temporary), repo_id, commit_message=commit_message, private=private, token=token, branch=branch,
                create_pr=create_pr,
            )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        anchor: nn.Module | None = None,
        adapter: Adapter | None = None,
        loss: RawLoss | None = None,
        trust: bool = False,
    ) -> Self:
        """The model that was pushed, on the CPU, in evaluation mode. No code and no pickle is fetched.

        Args:
            pretrained_model_name_or_path: "user/name", "user/name@revision", or a folder; see `record.hub.find_run`.
            revision: branch, tag or commit; main if None. A commit alone names the same weights for ever.
            token: the one that `hf auth login` or HF_TOKEN gave if None.
            cache_dir: where fetched files are kept; the Hub's cache if None.
            force_download: fetch what the cache has too.
            local_files_only: take the cache alone.
            anchor: this and what follows as in `load`.
            adapter: see `anchor`.
            loss: see `anchor`.
            trust: see `anchor`. Do not trust a repository before you have read the code that its config.yaml names.

        Returns:
            Model, as `load` returns it.

        Raises:
            FileNotFoundError, PermissionError, ImportError, ValueError: as `record.hub.find_run` and `load`.
        """
        how = {"token": token, "cache_dir": cache_dir, "force_download": force_download}
        found = find_run(pretrained_model_name_or_path, revision=revision, local_files_only=local_files_only, **how)
        return cls.load(found.folder, anchor=anchor, adapter=adapter, loss=loss, trust=trust)

    def _write(self, folder: Path, name: str, card: str | None) -> None:
        record = publishable(require_record(self))
        text = model_card(record, name) if card is None else card
        record.write(folder)
        write_tensors(folder / WEIGHTS, self.state_dict())
        write_text(folder / CARD, text)
