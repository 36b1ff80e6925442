"""The one room that writes files: whole or not at all, on disks that are full, read-only or in the way."""

import ast
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import files
from harness.errors import DataError, HarnessError, IncompleteError
from tests.disks import change, fill
from tests.killing import killed_at

PACKAGE = Path(files.__file__).parent
# Not among them: `save_pretrained`, `save_state`, `torch.save`, `np.savez` and `shutil.copyfile`, with which
# libraries save into a folder that `files.keep` gives its name, or into a stream of `files.replacing`.
WRITERS = {"write_text", "write_bytes", "touch", "to_csv", "to_parquet", "NamedTemporaryFile"}
RENAMERS = {"os.replace", "os.rename", "os.renames", "shutil.move"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    files.write_text(path, "é")
    files.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == {"file"}


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")

    def fail() -> None:
        with files.replacing(path) as stream:
            stream.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == {"file"}


def test_a_folder_in_the_way_is_one_line_and_stays(tmp_path: Path) -> None:
    (tmp_path / "file" / "inside").mkdir(parents=True)
    with (
        pytest.raises(HarnessError, match=r"file can't be written \(Is a directory\); choose another$"),
        files.output(tmp_path / "file", "choose another"),
    ):
        files.write_text(tmp_path / "file", "new")
    assert names(tmp_path) == {"file"}
    assert names(tmp_path / "file") == {"inside"}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere" / "file")
    for text in ("one", "two"):
        files.write_text(link, text)
        assert link.is_symlink()
        assert (tmp_path / "elsewhere" / "file").read_text() == text


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    files.write_text(pipe, "news")
    reader.join()
    assert heard == ["news"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    files.write_text(Path(os.devnull), "nothing")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_the_longest_name_has_room_for_a_draft(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    files.write_text(path, "text")
    assert path.read_text() == "text"


def test_two_writers_dont_mix(tmp_path: Path) -> None:
    """Each is inside its block while the other writes; the last to end is the one that counts."""
    path = tmp_path / "file"
    with files.replacing(path) as one, files.replacing(path) as other:
        one.write(b"one")
        other.write(b"other")
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == {"file"}


def test_a_killed_writer_leaves_the_old_file_and_a_draft_to_clear(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")
    assert killed_at(0, lambda: files.write_text(path, "new"))
    assert path.read_text() == "old"
    (draft,) = names(tmp_path) - {"file"}
    assert files.is_draft(tmp_path / draft)
    files.clear_drafts(tmp_path)
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize("broken", [fill, lambda disk: change(disk, "ro")], ids=["full", "read-only"])
def test_a_disk_that_refuses_keeps_what_it_has(disk: Path, broken: Callable[[Path], None]) -> None:
    path = disk / "file"
    files.write_text(path, "old")
    broken(disk)
    before = names(disk)
    with (
        pytest.raises(IncompleteError, match=r"^can't write to .*run the same command to go on$"),
        files.resumable(disk),
    ):
        files.write_text(path, "x" * 100_000)
    with (
        pytest.raises(HarnessError, match=r"can't be written \((No space|Read-only).*\); choose another$"),
        files.output(path, "choose another"),
    ):
        files.write_text(path, "x" * 100_000)
    with pytest.raises(OSError, match=r"No space|Read-only"), files.new_folder(disk / "folder") as draft:
        (draft / "weights").write_bytes(b"x" * 100_000)
    assert path.read_text() == "old"
    assert names(disk) == before


def test_a_line_that_has_no_room_isnt_there_by_half(disk: Path) -> None:
    with files.LineLog(disk / "log") as log:
        log.append(b"first\n")
        fill(disk)
        with pytest.raises(OSError, match="No space"):
            log.append(b"x" * 100_000 + b"\n")
        assert (disk / "log").read_bytes() == b"first\n"
        (disk / "ballast").unlink()
        log.append(b"second\n")
    assert [line for _, line in files.whole_lines(disk / "log")] == [b"first\n", b"second\n"]


@pytest.mark.parametrize("torn", [b"", b"{", b"\x00\x00", b'{"half": '])
def test_a_torn_last_line_is_left_out_and_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n" + torn)
    assert list(files.whole_lines(path)) == [(1, b"one\n"), (2, b"two\n")]
    with files.LineLog(path) as log:
        log.append(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_lines_of_what_cant_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read: Is a directory"):
        list(files.whole_lines(tmp_path))


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A network mount without its lock service: nobody may write there, and nobody is said to."""

    def refuse(file: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    (tmp_path / "lock").touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(HarnessError, match=r"lock has no locks; choose a folder on another$"):
        files.lock(tmp_path / "lock")
    assert not files.is_locked(tmp_path / "lock")


def test_a_lock_lets_one_in(tmp_path: Path) -> None:
    with files.lock(tmp_path / "lock"):
        assert files.is_locked(tmp_path / "lock")
        with pytest.raises(files.LockedError, match="being written by another process"):
            files.lock(tmp_path / "lock")
    assert not files.is_locked(tmp_path / "lock")
    with files.lock(tmp_path / "lock", wait=True):
        pass


def test_a_folder_appears_when_all_of_it_is_there(tmp_path: Path) -> None:
    def work() -> None:
        with files.new_folder(tmp_path / "new") as draft:
            (draft / "inner").mkdir()
            (draft / "inner" / "file").write_text("text")
            assert not (tmp_path / "new").exists()

    assert killed_at(0, work)
    assert names(tmp_path) == {"new.unfinished"}
    (tmp_path / "new.unfinished" / "rest").write_text("of the killed one")
    work()
    assert names(tmp_path) == {"new"}
    assert names(tmp_path / "new") == {"inner"}
    with pytest.raises(ZeroDivisionError), files.new_folder(tmp_path / "other"):
        raise ZeroDivisionError
    assert names(tmp_path) == {"new"}


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_only_one_room_writes_files(path: Path) -> None:
    if path == Path(files.__file__):
        return
    found = [f"{path}:{call.lineno}" for call in ast.walk(ast.parse(path.read_text())) if writes(call)]
    assert not found, "write through harness/files.py"


@pytest.mark.parametrize(
    "code",
    [
        'open(path, "w")',
        'open(path, mode="ab")',
        'path.open("x", encoding="utf-8")',
        'path.open("r+b")',
        "path.open(mode)",
        "path.write_text(text)",
        "path.write_bytes(content)",
        "os.replace(draft, path)",
        "draft.replace(path)",
        "draft.rename(path)",
        "os.rename(draft, path)",
        "shutil.move(draft, path)",
        "os.open(path, os.O_RDWR | os.O_CREAT)",
        "path.touch()",
        "table.to_csv(path)",
    ],
)
def test_a_write_is_seen(code: str) -> None:
    assert any(writes(node) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "open(path)",
        'path.open("rb")',
        'path.open(encoding="utf-8", newline="")',
        'gzip.open(raw, "rb")',
        "os.open(path, os.O_RDONLY)",
        'text.replace("a", "b")',
        "files.write_text(path, text)",
        "write_bytes(path, content)",
        "dataclasses.replace(config, out=path)",
    ],
)
def test_a_read_is_none(code: str) -> None:
    assert not any(writes(node) for node in ast.walk(ast.parse(code)))


def writes(call: ast.AST) -> bool:
    """Whether a call writes a file, or gives it a name."""
    if not isinstance(call, ast.Call):
        return False
    name = ast.unparse(call.func)
    owner, _, verb = name.rpartition(".")
    if verb == "open":
        return opens_for_writing(name, call)
    # `replace` of a string takes two arguments, of a dataclass keywords.
    renames = verb in {"replace", "rename"} and len(call.args) == 1 and not call.keywords
    return owner not in {"", "files"} and (verb in WRITERS or name in RENAMERS or renames)


def opens_for_writing(name: str, call: ast.Call) -> bool:
    """Whether a call of anything's `open` names a mode but that of reading."""
    if name == "os.open":
        return ast.unparse(call.args[1]) != "os.O_RDONLY"
    given = call.args[1:] if name in {"open", "gzip.open"} else call.args
    mode = next((one.value for one in call.keywords if one.arg == "mode"), next(iter(given), None))
    return mode is not None and (not isinstance(mode, ast.Constant) or not set(str(mode.value)) <= set("rbt"))
