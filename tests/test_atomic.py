"""Files are written whole or not at all."""

import os
import resource
from pathlib import Path

import pytest

from vhs.errors import VhsError
from vhs.formats.atomic import whole_file, write_whole


class TestAtomic:
    def test_nothing_is_left_when_writing_fails(self, tmp_path: Path) -> None:
        target = tmp_path / "x"
        target.write_text("old")
        with pytest.raises(ValueError, match="stop"), whole_file(target) as file:
            file.write(b"half")
            raise ValueError("stop")
        assert target.read_text() == "old" and os.listdir(tmp_path) == ["x"]

    def test_umask_links_and_devices(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_whole(tmp_path / "x", b"1")
        finally:
            os.umask(before)
        assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
        (tmp_path / "link").symlink_to(tmp_path / "x")
        write_whole(tmp_path / "link", b"2")
        assert (tmp_path / "link").is_symlink() and (tmp_path / "x").read_bytes() == b"2"
        write_whole(Path("/dev/null"), b"3")
        with pytest.raises(VhsError, match="/dev/full: cannot be written: No space left"):
            write_whole(Path("/dev/full"), b"4")

    def test_a_full_disk(self, tmp_path: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(VhsError, match=r"cannot be written: File too large\. Nothing was left"):
                write_whole(tmp_path / "x", bytes(5000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert os.listdir(tmp_path) == []
