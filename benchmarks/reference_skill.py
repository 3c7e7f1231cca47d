"""What CoLeaF's Reference knows by itself: python -m benchmarks.reference_skill DATA SPLIT RUN ...

Scores the Reference of each run as a parser (segment and modality probabilities above 0.5) and counts the classes that
it finds in each modality. A Reference that finds hardly any has nothing to teach.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from coleaf_framework.data import AveragedFrames, AVVPDataset, collate, open_folder
from coleaf_framework.metrics import DecisionConfig, all_scores, decide
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import AnchorOutput, ReferenceOutput

COLUMNS = ("support/segment/Ao", "support/segment/Vo", "support/segment/AV", "support/segment/Type@AVo")
DECISION = DecisionConfig(gate="modality", gate_threshold=0.5, segment_threshold=0.5)


def main(root: Path, split: str, runs: list[Path]) -> None:
    """Print a line a run."""
    for run in runs:
        model = CoLeaF.load(run)
        assert model.reference is not None
        data: AVVPDataset = open_folder(root, split)
        if any(spec.averaged > 1 for spec in model.streams.values()):
            data = AveragedFrames(data)
        batch = collate([data[i] for i in range(len(data))], data.streams)
        assert batch.segment_labels is not None
        streams = batch.streams if model.standardizer is None else model.standardizer(batch.streams)
        with torch.no_grad():
            answer: ReferenceOutput = model.reference(mask=batch.mask, **streams)
        probs = answer.modality_probs
        output = AnchorOutput(answer.segment_probs, probs.amax(1), answer.tokens, probs)
        scores = all_scores(decide(output, DECISION, batch.mask), batch.segment_labels)
        found = (probs > DECISION.gate_threshold).float().sum(-1).mean(0).tolist()
        shown = ", ".join(f"{column.split('/')[-1]} {scores[column]:.1f}" for column in COLUMNS)
        print(f"{run}: {shown}; finds {found[0]:.2f} audible and {found[1]:.2f} visible classes a video")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], list(map(Path, sys.argv[3:])))
