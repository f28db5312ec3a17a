"""The page of suspected labels: a card for each, with its picture or its row of the table."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import numpy as np

from .._text import one_line
from ..analysis import LabelReport
from ..datasets import Dataset, table_rows
from ._html import heading, page, paragraph, percent, table

_STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem;
  padding: 0; list-style: none; }
.cards.wide { grid-template-columns: 1fr; }
.cards li { border: 1px solid #ddd; border-radius: .4rem; padding: .6rem; overflow-wrap: anywhere;
  min-width: 0; }
.cards img { width: 6rem; max-width: 100%; height: auto; display: block; margin-bottom: .4rem;
  image-rendering: pixelated; background: #eee; }
.cards p { margin: 0; }
.cards .name { color: #555; font-size: .85rem; }
.cards dl { margin: .4rem 0 0; display: grid; font-size: .85rem; column-gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); }
.cards dt { color: #555; }
.cards dd { margin: 0 0 .2rem; }
"""
_MOST_CLASSES, _MOST_COLUMNS, _PIXELS = 12, 40, 96


def suspects_page(
    report: LabelReport,
    columns: dict[str, list[Any]],
    listed_in: str,
    dataset: Any,
    identifier: str | None,
    most: int,
) -> str:
    """The whole document.

    Args:
        report: what is known.
        columns: of the points that are listed, see `LabelReport.suspects`.
        listed_in: the name of the file with all of them.
        dataset: a `Dataset` of images or a table, or None.
        identifier: of a table, the column of what its rows are called.
        most: cards on the page.

    Raises:
        ValueError: if the data has no points that are called as in the report, or no pictures.
    """
    count = len(columns["index"])
    shown = {name: values[:most] for name, values in columns.items()}
    pictures = rows = None
    if isinstance(dataset, Dataset):
        pictures = _pictures(report, shown["index"], dataset)
    elif dataset is not None:
        rows = table_rows(dataset, shown["index"], identifier=identifier)
    parts = [paragraph(_lead(report), "lead")]
    parts += [heading("Classes"), _class_table(report)]
    if len(report.class_names) <= _MOST_CLASSES:
        parts += [heading("From the right class to the given one"), _transition_table(report)]
    parts.append(heading("Labels to check"))
    parts.append(
        paragraph(
            f"The most doubtful first; the score is the probability that the given label is right. "
            f"To correct labels, write the right class, its name or its number, into the column "
            f"“corrected” of {listed_in}, and read it with Dataset.corrected or "
            f"ntk-air labels --corrections {listed_in}."
        )
    )
    if count > len(shown["index"]):
        parts.append(
            paragraph(f"The first {most} of {count} are shown; {listed_in} holds all of them.")
        )
    if rows is not None and len(rows) > _MOST_COLUMNS:
        parts.append(paragraph(f"The first {_MOST_COLUMNS} of {len(rows)} columns are shown."))
        rows = dict(list(rows.items())[:_MOST_COLUMNS])
    cards = [_card(shown, i, pictures, rows) for i in range(len(shown["index"]))]
    kind = "cards" if rows is None else "cards wide"
    parts.append(f'<ul class="{kind}">' + "\n".join(cards) + "</ul>")
    if not count:
        parts.append(paragraph("No label is suspected."))
    return page("Labels that are probably wrong", parts, style=_STYLE)


def _lead(report: LabelReport) -> str:
    suspected, n, wrong = int(report.suspected.sum()), len(report.given), report.num_wrong
    text = f"{suspected} of {n} labels are suspected ({percent(suspected / n)}). "
    noise = f"The noise rate is {percent(float(report.noise_rate))}"
    if wrong.lower == wrong.upper:
        return f"{text}{noise}, as given: {wrong.value:.0f} labels."
    low, high = (percent(float(x)) for x in (report.noise_rate.lower, report.noise_rate.upper))
    text += (
        f"About {wrong.value:.0f} are wrong, by the 95 % interval {wrong.lower:.0f} to "
        f"{wrong.upper:.0f}. {noise} ({low} to {high})."
    )
    if not report.noise_rate.identified:
        text += (
            " These labels and this kernel do not tell it well; confident learning would have "
            f"{percent(float(report.noise_rate.confident))}."
        )
    return text


def _class_table(report: LabelReport) -> str:
    found = {name: np.asarray(values) for name, values in report.per_class.items()}
    rows = [
        [one_line(name), int(found["count"][c]), int(found["suspected"][c]), _share(found, c)]
        for c, name in enumerate(report.class_names)
    ]
    return table(["given class", "points", "suspected", "wrong, estimated"], rows)


def _share(found: dict[str, np.ndarray], c: int) -> str:
    return percent(float(found["rate"][c]) if found["count"][c] else None)


def _transition_table(report: LabelReport) -> str:
    names = [one_line(name) for name in report.class_names]
    matrix = np.asarray(report.transition)
    rows = [[name, *map(percent, matrix[c].tolist())] for c, name in enumerate(names)]
    return table(["right class", *names], rows)


def _card(
    columns: dict[str, list[Any]],
    i: int,
    pictures: list[str] | None,
    rows: dict[str, list[Any]] | None,
) -> str:
    given, other = (html.escape(one_line(columns[f"{c}_name"][i])) for c in _LABELS)
    called = html.escape(one_line(str(columns["index"][i])))
    parts = []
    if pictures is not None:
        parts.append(f'<img alt="{called}" src="data:image/png;base64,{pictures[i]}">')
    change = f"{given} → <b>{other}</b>" if given != other else given
    parts.append(f"<p>{change}</p>")
    parts.append(f'<p class="name">score {columns["score"][i]:.3f} · {called}</p>')
    if rows is not None:
        entries = (
            f"<div><dt>{html.escape(one_line(name))}</dt><dd>{_entry(values[i])}</dd></div>"
            for name, values in rows.items()
        )
        parts.append(f"<dl>{''.join(entries)}</dl>")
    return f"<li>{''.join(parts)}</li>"


_LABELS = ("observed", "suggested")


def _entry(value: Any) -> str:
    if value is None:
        return "–"
    return html.escape(one_line(f"{value:.6g}" if isinstance(value, float) else str(value)))


def _pictures(report: LabelReport, names: list[Any], dataset: Dataset) -> list[str]:
    """PNG files of the points, in base 64."""
    inputs = np.asarray(dataset.train_inputs)
    if dataset.kind != "images" or inputs.ndim != 4:
        raise ValueError(
            f"dataset has inputs of kind {dataset.kind!r} and shape {inputs.shape}, expected "
            "images (n, H, W, ch) as loaded; of a table, pass the table or its path."
        )
    chosen = inputs[_places(report, names, dataset)]
    low, high = (float(f(chosen, initial=0.5)) for f in (np.min, np.max))
    if low < 0 or high > 1:
        chosen = (chosen - low) / (high - low)
    return [_png(image) for image in chosen]


def _places(report: LabelReport, names: list[Any], dataset: Dataset) -> list[int]:
    called, judged = (np.asarray(one.identifiers).astype(str) for one in (dataset, report))
    unknown = judged[~np.isin(judged, called)]
    if len(unknown):
        raise ValueError(
            f"dataset has no point called {one_line(str(unknown[0]))!r}, expected the dataset that "
            "was judged, with the identifiers of the report."
        )
    if len(np.unique(called)) < len(called):
        raise ValueError(
            "dataset has several points that are called the same, expected identifiers that differ."
        )
    place = {name: i for i, name in enumerate(called.tolist())}
    return [place[str(name)] for name in names]


def _png(pixels: np.ndarray) -> str:
    from PIL import Image

    levels = np.round(255 * pixels).astype(np.uint8)
    if levels.shape[2] not in (1, 3, 4):
        levels = np.round(255 * pixels.mean(axis=2, keepdims=True)).astype(np.uint8)
    picture = Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)
    picture.thumbnail((_PIXELS, _PIXELS))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
