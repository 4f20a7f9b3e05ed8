import io
import os
import stat
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from erc.data.corpora import load_corpus
from erc.data.corpora.archives import ArchiveLimits, unpack
from erc.data.corpora.corpus import corpus_file
from erc.data.corpora.importing import import_corpus
from erc.errors import ConvemoError, InputError

TRAIN = "one\t0\ta\ntwo\t3,27\tb\n"
DEV = "three\t27\tc\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "train.tsv").write_text(TRAIN, encoding="utf-8")
    (source / "dev.tsv").write_text(DEV, encoding="utf-8")
    (source / "README.md").write_text("about", encoding="utf-8")
    return source


def zipped(path: Path, members: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_import_copies_a_folder_with_checksums(folder: Path, own_root: Path) -> None:
    imported = import_corpus("goemotions", source=folder)
    assert sorted(os.listdir(own_root / "goemotions")) == ["SHA256SUMS", "dev.tsv", "train.tsv"]
    digest = corpus_file(folder / "dev.tsv").sha256
    assert (
        f"{digest}  dev.tsv"
        in (own_root / "goemotions" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )
    assert {summary.split: summary.conversations for summary in imported.summaries} == {"train": 2, "dev": 1}
    assert len(load_corpus("goemotions", "train")) == 2


def test_import_leaves_no_temporary_files(folder: Path, own_root: Path) -> None:
    import_corpus("goemotions", source=folder)
    assert os.listdir(own_root) == ["goemotions"]


def test_import_of_a_broken_file_does_not_change_the_root(folder: Path, own_root: Path) -> None:
    (folder / "dev.tsv").write_text("three\t99\tc\n", encoding="utf-8")
    with pytest.raises(InputError, match="from 0 to 27"):
        import_corpus("goemotions", source=folder)
    assert os.listdir(own_root) == []


def test_import_adds_a_split_and_keeps_the_recorded_ones(folder: Path, own_root: Path) -> None:
    import_corpus("goemotions", source=folder / "dev.tsv")
    import_corpus("goemotions", source=folder / "deep" / "train.tsv")
    assert len((own_root / "goemotions" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()) == 2


def test_import_overwrites_another_version_only_with_replace(folder: Path, own_root: Path) -> None:
    import_corpus("goemotions", source=folder)
    (folder / "dev.tsv").write_text("four\t1\tc\n", encoding="utf-8")
    with pytest.raises(InputError, match="--replace"):
        import_corpus("goemotions", source=folder)
    assert load_corpus("goemotions", "dev").conversations[0].utterances[0].text == "three"
    import_corpus("goemotions", source=folder, replace=True)
    assert load_corpus("goemotions", "dev").conversations[0].utterances[0].text == "four"


def test_import_rejects_a_source_of_another_corpus(folder: Path, own_root: Path) -> None:
    with pytest.raises(InputError, match="no file of the corpus 'meld' is there"):
        import_corpus("meld", source=folder)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_import_reads_archives(folder: Path, own_root: Path, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"corpus.{kind}"
    if kind == "zip":
        zipped(archive, {"data/train.tsv": TRAIN, "data/run.sh": "echo"})
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder / "deep" / "train.tsv", "data/train.tsv")
    import_corpus("goemotions", source=archive)
    assert sorted(os.listdir(own_root / "goemotions")) == ["SHA256SUMS", "train.tsv"]


def test_import_reads_archives_within_the_archive(own_root: Path, tmp_path: Path) -> None:
    inner = {}
    for split, text in (("train", "a __eou__ b __eou__\n"), ("validation", "c __eou__ d __eou__\n")):
        path = zipped(
            tmp_path / f"{split}.zip",
            {f"{split}/dialogues_{split}.txt": text, f"{split}/dialogues_emotion_{split}.txt": "0 4\n"},
        )
        inner[f"ijcnlp/{split}.zip"] = path.read_bytes()
    import_corpus("dailydialog", source=zipped(tmp_path / "all.zip", inner))
    assert load_corpus("dailydialog", "dev").conversations[0].utterances[0].text == "c"


def test_import_names_files_by_split_if_only_their_folder_does(own_root: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "d" / split).mkdir(parents=True)
        (tmp_path / "d" / split / "dialogues_text.txt").write_text(f"{split} __eou__\n", encoding="utf-8")
        (tmp_path / "d" / split / "dialogues_emotion.txt").write_text("0\n", encoding="utf-8")
    import_corpus("dailydialog", source=tmp_path / "d")
    assert load_corpus("dailydialog", "test").conversations[0].utterances[0].text == "test"


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "C:/evil.txt", "a\\..\\evil.txt"]
)
def test_unpack_rejects_names_outside_the_target(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="points outside the archive"):
        unpack(zipped(tmp_path / "a.zip", {"ok.txt": "fine", name: "evil"}), tmp_path / "into")
    assert not list(tmp_path.rglob("evil*"))


def test_unpack_rejects_a_link_in_a_zip(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("train.tsv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "../../secret")
    with pytest.raises(InputError, match="link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "into")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_unpack_rejects_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("train.tsv")
        info.type, info.linkname = kind, "../../secret"
        tar.addfile(info)
    with pytest.raises(InputError, match="link or a device"):
        unpack(tmp_path / "a.tar", tmp_path / "into")


def test_unpack_rejects_a_bomb_by_its_ratio(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "a.zip", {"x.txt": b"0" * 4_000_000})
    with pytest.raises(InputError, match="unpacks to far more than its size"):
        unpack(bomb, tmp_path / "into", ArchiveLimits(ratio=10))
    assert sum(path.stat().st_size for path in (tmp_path / "into").rglob("*") if path.is_file()) < 2_000_000


def test_unpack_applies_the_limit_to_all_members_together(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {f"{i}.txt": "x" * 600 for i in range(3)}, zipfile.ZIP_STORED)
    with pytest.raises(InputError, match=r"stopped at '1\.txt'"):
        unpack(archive, tmp_path / "into", ArchiveLimits(total_bytes=1000))


def test_unpack_limits_members(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 2 members"):
        unpack(
            zipped(tmp_path / "a.zip", {f"{i}.txt": "x" for i in range(3)}),
            tmp_path / "into",
            ArchiveLimits(members=2),
        )


def test_unpack_rejects_a_repeated_member(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for content in (b"one", b"two"):
            info = tarfile.TarInfo("x.txt")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(InputError, match="is repeated"):
        unpack(tmp_path / "a.tar", tmp_path / "into")


def test_unpack_reports_a_damaged_archive(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"x.txt": os.urandom(5000)}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match="damaged"):
        unpack(path, tmp_path / "into")


class FakeHub(ModuleType):
    """Replaces the `datasets` package: returns rows, or fails as without a connection."""

    def __init__(self, splits: dict[str, list[dict[str, Any]]] | Exception) -> None:
        super().__init__("datasets")
        self.splits = splits
        self.asked: list[tuple[str, str | None, str | None]] = []

    def load_dataset(
        self, repository: str, configuration: str | None = None, *, revision: str | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        self.asked.append((repository, configuration, revision))
        if isinstance(self.splits, Exception):
            raise self.splits
        return self.splits


@pytest.mark.parametrize(
    ("name", "row", "text", "emotions"),
    [
        (
            "goemotions",
            {"text": "so\tgood\nyes", "labels": [0, 17], "id": "a"},
            "so good yes",
            ("admiration", "joy"),
        ),
        ("dailydialog", {"dialog": ["Tea ?"], "emotion": [4], "act": [1]}, "Tea ?", ("happiness",)),
    ],
)
def test_import_from_the_hub_is_read_back(
    own_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    row: dict[str, Any],
    text: str,
    emotions: tuple[str, ...],
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", FakeHub({"train": [row], "validation": [row]}))
    import_corpus(name)
    (turn,) = load_corpus(name, "dev").conversations[0].utterances
    assert (turn.text, turn.emotions) == (text, emotions)


def test_import_of_semeval_from_the_hub_requests_the_parquet_copy(
    own_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        "anger",
        "anticipation",
        "disgust",
        "fear",
        "joy",
        "love",
        "optimism",
        "pessimism",
        "sadness",
        "surprise",
        "trust",
    ]
    hub = FakeHub(
        {"train": [{"ID": "t1", "Tweet": "yay"} | {name: name in ("joy", "love") for name in names}]}
    )
    monkeypatch.setitem(sys.modules, "datasets", hub)
    import_corpus("semeval2018")
    assert load_corpus("semeval2018", "train").conversations[0].utterances[0].emotions == ("joy", "love")
    assert hub.asked == [("SemEvalWorkshop/sem_eval_2018_task_1", "subtask5.english", "refs/convert/parquet")]


def test_import_without_a_connection_names_the_import_command(
    own_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", FakeHub(ConnectionError("no route to the hub")))
    with pytest.raises(ConvemoError, match=r"no route to the hub.*erc data import goemotions --from PATH"):
        import_corpus("goemotions")


def test_import_of_a_corpus_that_is_not_on_the_hub_names_its_download_page(own_root: Path) -> None:
    with pytest.raises(InputError, match=r"github\.com/declare-lab/MELD"):
        import_corpus("meld")
