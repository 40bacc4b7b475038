"""Manifests: rows become items; what is wrong is named by line, field, value and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genartisan.batch import manifest
from genartisan.batch.items import Item
from genartisan.errors import InputError

SHARED = Item(photo="", params={"preset": "draft", "seed": 3}, style_images={"all": "/s.png"}, folder="")


def items(folder: Path, name: str, text: str | bytes, prompts: tuple[str, ...] = ()) -> list[Item]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return manifest.read(str(path), str(folder), SHARED, prompts)


CSV = """\ufeffphoto,prompt,seed,regions.portrait.weight,mask.sky,style_image
a.jpg,"Fire, and ice",5,0.1,m.png,
"b
c.jpg",,,,,wave.png

d.jpg
"""
JSONL = [
    {"photo": "a.jpg", "prompt": "Fire, and ice", "seed": 5, "regions.portrait.weight": 0.1, "mask.sky": "m.png"},
    {"photo": "b\nc.jpg", "prompt": None, "style_image": {"all": "wave.png"}},
    {"photo": "d.jpg"},
]  # fmt: skip


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_rows_become_items(name: str, tmp_path: Path) -> None:
    text = CSV if name == "m.csv" else "\n".join(map(json.dumps, JSONL))
    first, second, third = items(tmp_path, name, text, ("Gold",))
    assert (first.photo, first.prompt, first.masks) == ("a.jpg", "Fire, and ice", {"sky": "m.png"})
    assert first.params == {"preset": "draft", "seed": 5, "regions": {"portrait": {"weight": 0.1}}}
    assert first.style_images == {"all": "/s.png"}
    assert (second.photo, second.prompt, second.params) == ("b\nc.jpg", "Gold", SHARED.params)
    assert second.files["style_image"] == str(tmp_path / "wave.png")
    assert third.files == {"photo": str(tmp_path / "d.jpg"), "style_image": "/s.png"}


def test_rows_without_a_prompt_get_each(tmp_path: Path) -> None:
    made = items(tmp_path, "m.csv", "photo,prompt\na.jpg,Own\nb.jpg,\n", ("Fire", "Ice"))
    assert [(each.photo, each.prompt, each.row) for each in made] == [
        ("a.jpg", "Own", 2), ("b.jpg", "Fire", 3), ("b.jpg", "Ice", 3),
    ]  # fmt: skip
    assert [each.prompt for each in items(tmp_path, "m.csv", "photo,style\na.jpg,x\n")] == [None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column photo"),
        ("picture\na.jpg\n", "no column photo.*picture"),
        ("photo,photo\na.jpg,b.jpg\n", "two columns 'photo'"),
        ("photo\n\n", "no rows"),
        ("photo,prompt\na.jpg,Fire, and ice\n", "line 2 has 3 cells.*quotes"),
        ("photo,prompt\na.jpg,x\n,Fire\n", "line 3: photo is missing; name"),
        ('photo\n"a.jpg\n', "is no CSV"),
        ("photo,mask.No\na.jpg,m.png\n", "line 2: mask.*No"),
        ("photo,mask,mask.portrait\na.jpg,m.png,n.png\n", "line 2: mask of portrait is given twice"),
        ("photo,style_image.classes\na.jpg,m.png\n", "line 2: style_image"),
        (b"photo\n\xff.jpg\n", "not UTF-8"),
    ],
)
def test_a_wrong_csv_is_refused(text: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"manifest.*{says}"):
        items(tmp_path, "m.csv", text)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{", "is no JSON"),
        ("[1]", r"is \[1\]; write an object"),
        ('{"prompt": "Fire"}', "photo is missing"),
        ('{"photo": 5}', "photo is 5; name"),
        (r'{"photo": "\udcff.png"}', "photo is .*; name"),
        ('{"photo": " "}', "photo is ' '; name"),
        ('{"photo": "a.jpg", "prompt": 5}', "prompt must be text"),
        ('{"photo": "a.jpg", "prompt": ""}', "prompt is empty"),
        ('{"photo": "a.jpg", "mask": 5}', "mask is 5; name"),
        ('{"photo": "a.jpg", "mask": {"sky": 5}}', "mask.sky is 5; name"),
    ],
)
def test_a_wrong_line_of_json_is_refused(row: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"manifest line 2:? {says}"):
        items(tmp_path, "m.jsonl", f'{{"photo": "good.jpg"}}\n{row}\n')
