"""Published accuracies on CIFAR-10 under label noise, and what differs from our runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# "uniform" draws the new label from all ten classes, "symmetric" from the nine others.
_RESNET34 = ("uniform:0.2", "uniform:0.4", "uniform:0.6", "uniform:0.8", "asymmetric:0.4")
_ELR_TABLE = {
    "cross_entropy": (86.98, 81.88, 74.14, 53.82, 80.11),
    "gce": (89.83, 87.13, 82.54, 64.07, 76.74),
    "elr": (91.16, 89.15, 86.12, 73.86, 90.12),
    "self_adaptive_training": (94.14, 92.64, 89.23, 78.58),
}
PUBLISHED: dict[tuple[str, str], tuple[float, str]] = {
    (noise, method): (value, "ResNet-34")
    for method, values in _ELR_TABLE.items()
    for noise, value in zip(_RESNET34, values, strict=False)
} | {
    ("symmetric:0.2", "co_teaching"): (82.18, "9-layer CNN"),
    ("symmetric:0.5", "co_teaching"): (74.49, "9-layer CNN"),
    ("human:worst", "cross_entropy"): (67.9, "ResNet-34, last; best epoch 77.69"),
}
"""Test % by noise and method, with the network. ResNet-34: the tables of ELR (arXiv:2007.00151) and
self-adaptive training (arXiv:2002.10319); Co-teaching (arXiv:1804.06872); CIFAR-10N
(arXiv:2110.12088)."""


def accuracy(dataset: str, noise: str, method: str) -> str:
    """What a table prints beside ours, or a dash.

    Where a rate was published in the other symmetric convention, that number is given with it.
    """
    name = method.split("/")[0]
    if dataset != "cifar10":
        return "–"
    found = PUBLISHED.get((noise, name))
    if found is not None:
        return f"{found[0]} ({found[1]})"
    kind, _, rate = noise.partition(":")
    other = {"symmetric": "uniform", "uniform": "symmetric"}.get(kind)
    found = PUBLISHED.get((f"{other}:{rate}", name))
    return "–" if found is None else f"{found[0]} ({found[1]}, {other}:{rate})"


def differences(cells: Sequence[Mapping[str, Any]]) -> str:
    """What a reader has to know before comparing columns."""
    settings = cells[0]["settings"]
    decay = settings.get("weight_decay", 0.0)
    lines = [
        "- `best` is over the records of a run and takes clean test labels to know; `last` is "
        "after the last step; `at stopping` is at the first record of the highest accuracy on "
        f"{cells[0]['num_held_out']} noisy points that no method trains on.",
        "- ℓ2: ‖p − y‖₂/√n to the clean labels of the points trained on, p the softmax; `ℓ2 best` "
        "is its lowest value, which takes clean labels to know.",
        f"- Ours: {settings['network']}, {cells[0]['num_points']} points, {settings['optimizer']} "
        f"with {settings.get('schedule', 'constant')} learning rate "
        f"{settings['learning_rate']:g}, batches of {settings['batch_size']}, "
        f"{f'weight decay {decay:g}' if decay else 'no weight decay'}, augmentation: "
        f"{settings['augment']}. Numbers "
        "of methods are the published ones unless the name says otherwise; "
        "`self_adaptive_training` begins after 0.3 of the epochs, `co_teaching` is told the true "
        "rate of wrong labels, `forward_correction` estimates its transition from a first training "
        "of a fifth of the epochs.",
    ]
    notes = sorted({cell["environment"]["note"] for cell in cells} - {""})
    lines += [f"- Noted with the runs: {note}." for note in notes]
    if settings["dataset"] == "cifar10":
        lines += [
            "- Published: all 50 000 points (or 45 000), augmentation, SGD with decaying rates, "
            "120 to 300 epochs, the original images, the whole test set, best or last epochs by "
            "their own rules. Where the images are those of the project's data they are JPEG "
            "re-encodings (quality about 75, 4:2:0), and the test set is half of it.",
            "- `symmetric:r` draws wrong labels from the nine other classes: true error r. "
            "`uniform:r`, the convention of ELR and self-adaptive training, draws from all ten: "
            "true error 0.9 r. A published number in the other convention says so.",
        ]
    return "\n".join(lines)
