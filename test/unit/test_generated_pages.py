"""The generated parts of the documentation are what the code says now; `make doc` renews them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import generate

ROOT = Path(__file__).resolve().parents[2]
MAN_PAGES = sorted((ROOT / "doc" / "man").iterdir())


@pytest.mark.parametrize("page", generate.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert generate.renewed(text) == text, "run `make doc`, and commit the page"


@pytest.mark.parametrize("image", generate.IMAGES, ids=lambda image: str(image.relative_to(ROOT)))
def test_an_image_is_up_to_date_and_on_some_page(image: Path) -> None:
    assert image.read_text() == generate.IMAGES[image](), "run `make doc`, and commit the image"
    assert any(f"images/{image.name})" in page.read_text() for page in generate.pages())


def test_every_part_is_on_some_page() -> None:
    shown = {name for page in generate.pages() for name in re.findall("generated: ([a-z-]+)", page.read_text())}
    assert shown == set(generate.PARTS)


def test_a_stale_part_is_renewed_and_what_is_around_it_stays() -> None:
    page = "before\n<!-- generated: fields -->\nstale\n<!-- end -->\nafter\n"
    renewed = generate.renewed(page)
    assert "stale" not in renewed and "| `status` |" in renewed
    assert renewed.startswith("before\n") and renewed.endswith("<!-- end -->\nafter\n")
    assert generate.renewed(renewed) == renewed


def test_a_part_that_nobody_makes_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        generate.renewed("<!-- generated: nothing -->\n<!-- end -->")


@pytest.mark.parametrize("page", MAN_PAGES, ids=lambda page: page.name)
def test_a_man_page_is_well_formed(page: Path) -> None:
    name, _, section = page.name.rpartition(".")
    text = page.read_text()
    assert text.startswith(f'.TH {name.upper()} {section} "" "jqueue" "')
    assert text.count("\n.nf\n") == text.count("\n.fi\n") and text.count("\n.RS") == text.count("\n.RE\n")
    known = {*".TH .SH .SS .TP .PP .RS .RE .nf .fi .B .I .BR .RB .RI .IR".split(), '.\\"'}
    assert {line.split()[0] for line in text.splitlines() if line.startswith(".")} <= known
