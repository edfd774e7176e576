"""Splits that are drawn: every class on every side, groups on one, the same everywhere, steady as the data grows."""

from collections import Counter, defaultdict

import pytest

from pipeline.catalog import CatalogError, catalog_notes, read_catalog
from pipeline.catalog.drawn_split import Draw, assign, draw_split
from pipeline.catalog.rows import drawn_split

NAMES = [
    f"{label}/{number:03}.mp4" for label, count in (("pour", 60), ("stir", 40), ("whisk", 3)) for number in range(count)
]


def make(root, names=NAMES, text=None):
    """Files of different sizes and content."""
    for place, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or f"{name} {'x' * place}")
    return root


def drawn(root, **options):
    return draw_split(read_catalog("folder", root=root), root, Draw(**options))


def sides(table):
    return {
        row["source"].split("/", table["source"][0].as_py().count("/") - 1)[-1]: row["split"] for row in rows(table)
    }


def rows(table):
    return [row for row in table.to_pylist() if row["error_class"] is None]


def counts(table):
    found = defaultdict(dict)
    for (label, split), count in Counter((row["label"], row["split"]) for row in rows(table)).items():
        found[label][split] = count
    return dict(found)


def groups_file(root, lines, header="file\tgroup\tfold5"):
    path = root.parent / "groups.tsv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def test_every_class_is_on_every_side_in_its_share(tmp_path):
    table = drawn(make(tmp_path))
    assert counts(table) == {
        "pour": {"train": 36, "val": 12, "test": 12},
        "stir": {"train": 24, "val": 8, "test": 8},
        "whisk": {"train": 1, "val": 1, "test": 1},
    }
    assert catalog_notes(table) == [
        "the split is drawn: 61 train, 21 val, 21 test clips, from clips with catalog.split_seed 0"
    ]
    assert drawn_split(table) == {"seed": 0, "val_fraction": 0.2, "test_fraction": 0.2}


def test_the_same_list_gives_the_same_split_wherever_it_lies_and_another_seed_another(tmp_path):
    here, there = drawn(make(tmp_path / "here")), drawn(make(tmp_path / "far" / "away"))
    assert here["split"].equals(there["split"])
    assert not here["split"].equals(drawn(tmp_path / "here", seed=1)["split"])


def test_new_clips_move_few_others(tmp_path):
    before = sides(drawn(make(tmp_path)))
    make(tmp_path, [f"pour/new{number}.mp4" for number in range(6)], text=None)
    after = sides(drawn(tmp_path))
    assert sum(before[name] != after[name] for name in before) <= 4


def test_a_class_of_two_clips_is_trained_and_validated(tmp_path):
    assert counts(drawn(make(tmp_path, [*NAMES, "zest/1.mp4", "zest/2.mp4"])))["zest"] == {"train": 1, "val": 1}


def test_without_a_share_for_the_test_there_is_none(tmp_path):
    assert {row["split"] for row in rows(drawn(make(tmp_path), test=0))} == {"train", "val"}
    assert {row["split"] for row in rows(drawn(tmp_path, val=0, test=0))} == {"train"}


@pytest.mark.parametrize(
    ("folders", "after"),
    [
        (("train", "val"), {"train", "val"}),
        (("train", "val", "test"), {"train", "val", "test"}),
        (("train",), {"train", "val", "test"}),
        (("train", "test"), {"train", "val", "test"}),
        (("val",), {"val"}),
    ],
)
def test_what_a_folder_says_itself_stays(tmp_path, folders, after):
    table = drawn(make(tmp_path, [f"{split}/{label}/{n}.mp4" for split in folders for label in "ab" for n in range(5)]))
    assert {row["split"] for row in rows(table)} == after
    kept = [row for row in rows(table) if row["split"] != "train" and f"/{row['split']}/" in row["source"]]
    assert len(kept) == 10 * len(set(folders) - {"train"})
    assert (drawn_split(table) is None) == ("val" in folders)


def test_rows_in_error_stay_as_they_are(tmp_path):
    make(tmp_path, [*NAMES, "stray.mp4"])
    (bad,) = (row for row in drawn(tmp_path).to_pylist() if row["error_class"])
    assert bad["split"] == "train"


def test_groups_stay_on_one_side_whatever_classes_they_hold(tmp_path):
    root = make(tmp_path / "videos", [name for name in NAMES if "whisk" not in name])
    names = [name for name in NAMES if "whisk" not in name]
    of = {name: f"video{place * 7 % 20}" for place, name in enumerate(names)}
    table = drawn(root, groups=groups_file(root, [f"{name}\t{group}\t0" for name, group in of.items()]))
    found = defaultdict(set)
    for name, side in sides(table).items():
        found[of[name]].add(side)
    assert max(map(len, found.values())) == 1
    for each in counts(table).values():
        assert each["val"] == pytest.approx(0.2 * sum(each.values()), abs=5)
        assert each["test"] == pytest.approx(0.2 * sum(each.values()), abs=5)
    record = drawn_split(table)
    assert len(record.pop("groups")) == 16
    assert record == {"seed": 0, "val_fraction": 0.2, "test_fraction": 0.2, "fold": ""}
    assert "from 20 groups of groups.tsv" in catalog_notes(table)[0]


def test_the_digest_of_groups_is_of_what_they_say(tmp_path):
    root = make(tmp_path / "videos", NAMES[:60:6] + NAMES[60:100:6])
    lines = [f"{name}\t{place // 2}\t0" for place, name in enumerate(NAMES[:60:6] + NAMES[60:100:6])]
    one = drawn_split(drawn(root, groups=groups_file(root, lines)))
    commas = [line.replace("\t", ",") for line in reversed(lines)]
    assert drawn_split(drawn(root, groups=groups_file(root, commas, "clip,source_group,fold"))) == one
    moved = [lines[0].replace("\t0\t", "\t1\t"), *lines[1:]]
    assert drawn_split(drawn(root, groups=groups_file(root, moved)))["groups"] != one["groups"]


def test_a_file_of_groups_in_composed_letters_fits_a_disk_with_decomposed_ones(tmp_path):
    names = [f"cafe\u0301/{number} u\u0308.mp4" for number in range(3)]
    lines = [f"caf\u00e9/{number} \u00fc.mp4\t{number}\t0" for number in range(3)]
    table = drawn(make(tmp_path / "videos", names), groups=groups_file(tmp_path / "videos", lines))
    assert counts(table) == {"caf\u00e9": {"train": 1, "val": 1, "test": 1}}


def test_a_fold_is_the_test_and_validation_comes_from_the_rest(tmp_path):
    root = make(tmp_path / "videos")
    lines = [f"{name}\t{name}\t{place % 5}" for place, name in enumerate(NAMES) if "whisk" not in name]
    lines += [f"whisk/00{number}.mp4\tw{number}\t{number}" for number in range(3)]
    path = groups_file(root, lines)
    table = drawn(root, groups=path, fold="2")
    fold = {line.split("\t")[0] for line in lines if line.endswith("\t2")}
    assert {name for name, side in sides(table).items() if side == "test"} == fold
    assert all(each["val"] for each in counts(table).values())
    assert drawn(root, groups=path, fold="fold5=2")["split"].equals(table["split"])
    assert drawn_split(table)["fold"] == "2"


def test_all_folds_are_those_that_each_fold_alone_would_give(tmp_path):
    root = make(tmp_path / "videos")
    names = [name for name in NAMES if "whisk" not in name]
    lines = [f"{name}\t{name}\t{place % 5}" for place, name in enumerate(names)]
    lines += [f"whisk/00{number}.mp4\tw{number}\t{number}" for number in range(3)]
    path = groups_file(root, lines)
    table = drawn(root, groups=path, fold="all")
    alone = [drawn(root, groups=path, fold=str(fold))["split"].to_pylist() for fold in range(5)]
    assert table["split"].to_pylist() == [
        "_".join(f"{side}{fold}" for fold, side in enumerate(clip)) for clip in zip(*alone, strict=True)
    ]
    assert drawn(root, groups=path, fold="fold5=all")["split"].equals(table["split"])
    assert drawn_split(table)["fold"] == "all"
    assert [note[-20:] for note in catalog_notes(table)] == [f"test is fold fold5={fold}" for fold in range(5)]


def test_the_same_file_under_two_names_is_never_on_two_sides(tmp_path):
    make(tmp_path)
    for number in range(0, 60, 2):
        (tmp_path / f"pour/copy{number:03}.mp4").write_bytes((tmp_path / f"pour/{number:03}.mp4").read_bytes())
    found = sides(drawn(tmp_path))
    assert [n for n in range(0, 60, 2) if found[f"pour/{n:03}.mp4"] != found[f"pour/copy{n:03}.mp4"]] == []


@pytest.mark.parametrize(
    ("lines", "header", "fold", "message"),
    [
        (["a/1.mp4\tx\t0", "a/9.mp4\tx\t0", "b/9.mp4\tx\t0"], None, "",
         r"groups\.tsv:3: 'a/9\.mp4' is not among the videos, nor are 1 more; correct the names, or remove the lines$"),
        (["a/1.mp4\tx\t0"], None, "", r"groups\.tsv: 5 of 6 videos have no line, such as 'a/2\.mp4'; add a line"),
        (["a/1.mp4\tx\t0", "1.mp4\ty\t0"], None, "", r"groups\.tsv:3: '1\.mp4' is not among the videos"),
        (["a/1.mp4\tx\t0", "a/1.mp4\ty\t0"], None, "", r":3: 'a/1\.mp4' is in group x and in group y"),
        (["a/1.mp4\t\t0"], None, "", r":2: 'a/1\.mp4\\t\\t0'; expected a cell for each of file, group, fold5"),
        ([], "name,kind", "", r":1: expected one column 'file', found none among 'name, kind'"),
        ([], "file,a_group,b_group", "", r":1: expected one column 'group', found 'a_group, b_group'"),
        ([], "", "", r"groups\.tsv: empty; expected CSV or TSV with columns file and group"),
        ("one", None, "", r"class 'a' has one group \('all'\) only, and training and validation need one each"),
        ("each", None, "7", r"catalog\.fold: no fold 7; fold5 has 0, 1, 2"),
        ("letters", None, "all", r"catalog\.fold: all needs two to 9 folds named 0 to 9; fold5 has 'a, b'; name one"),
        ("each", None, "k=1", r"catalog\.fold: k=1: the file of groups has fold5; name one as COLUMN=VALUE"),
        ("parted", None, "1", r"catalog\.fold: group g is in folds 1 and 0 of fold5; it shows one source"),
        ("classes", None, "0", r"catalog\.fold: all clips of class 'a' are in fold 0"),
    ],
)  # fmt: skip
def test_groups_that_do_not_fit_are_one_line(tmp_path, lines, header, fold, message):
    names = [f"{label}/{number}.mp4" for label in "ab" for number in (1, 2, 3)]
    made = {
        "one": [f"{name}\tall\t0" for name in names],
        "letters": [f"{name}\t{name}\t{'ab'[place % 2]}" for place, name in enumerate(names)],
        "each": [f"{name}\t{name}\t{place % 3}" for place, name in enumerate(names)],
        "parted": [f"{name}\tg\t{place % 2}" for place, name in enumerate(names)],
        "classes": [f"{name}\t{name}\t{int(name[0] == 'b')}" for name in names],
    }
    root = make(tmp_path / "videos", names)
    path = groups_file(root, made.get(lines, lines) if isinstance(lines, str) else lines,
                       "file\tgroup\tfold5" if header is None else header)  # fmt: skip
    with pytest.raises(CatalogError, match=message) as caught:
        drawn(root, groups=path, fold=fold)
    assert "\n" not in str(caught.value)


def test_a_class_of_one_clip_is_one_line(tmp_path):
    with pytest.raises(
        CatalogError, match=r"^class 'stir' has one clip \('stir/two\.mp4'\) only, and training and val"
    ):
        drawn(make(tmp_path, ["pour/1.mp4", "pour/2.mp4", "stir/two.mp4"]))


def test_all_classes_of_too_few_clips_are_said_and_how_many_are_needed(tmp_path):
    names = ["a/1.mp4", "b/1.mp4", "c/1.mp4", "c/2.mp4"]
    says = (
        r"class 'a' has one clip .* \(nor have 1 more classes, such as 'b'\); give each class two clips or more, three"
    )
    with pytest.raises(CatalogError, match=says):
        drawn(make(tmp_path / "one", names))
    with pytest.raises(CatalogError, match=r"class 'a' has one clip \('a/1\.mp4'\) only, 2 times, and training"):
        drawn(make(tmp_path / "copies", ["a/1.mp4", "a/2.mp4"], text="same"))


@pytest.mark.parametrize("clips", [2, 3, 4, 5])
def test_few_clips_of_a_class_are_enough_without_settings(tmp_path, clips):
    table = drawn(make(tmp_path, [f"{label}/{number}.mp4" for label in "ab" for number in range(clips)]))
    tested = {"test": 1} if clips > 2 else {}
    expected = {"train": clips - 1 - len(tested), "val": 1, **tested}
    assert counts(table) == {"a": expected, "b": expected}


def test_folders_of_splits_that_part_a_group_are_refused(tmp_path):
    names = [f"{split}/{label}/{n}.mp4" for split in ("train", "val") for label in "ab" for n in range(2)]
    root = make(tmp_path / "videos", names)
    path = groups_file(root, [f"{name}\t{name[-5]}\t0" for name in names])
    with pytest.raises(CatalogError, match=r"group 0 is in train and in val .*so keep it on one side"):
        drawn(root, groups=path)
    with pytest.raises(CatalogError, match=r"has folders of splits, train, val; leave fold out"):
        drawn(root, groups=path, fold="0")


def test_one_large_group_of_two_classes_does_not_take_them_out_of_training():
    units = {"big": Counter(a=50, b=50), "x": Counter(a=1), "y": Counter(b=1)}
    found = assign(units, {"val": 0.2, "test": 0.2}, seed=0)
    assert found["big"] == "train"
    assert {found["x"], found["y"]} == {"val"}
