"""`vhs shard`, and images that cannot be decoded."""

import json
import shutil
from pathlib import Path

from PIL import Image

from tests.commands import damage_an_image, rows
from tests.conftest import toy_images


class TestShard:
    def test_folders_to_shards_and_skip_bad(self, vhs) -> None:
        for name in ("a", "b"):
            Path("in", name).mkdir(parents=True)
            for index in range(3):
                Image.fromarray(toy_images(1, index)[0][0]).save(Path("in", name, f"{name}{index}.png"))
        Path("in/b/b1.png").write_bytes(Path("in/b/b1.png").read_bytes()[:60])
        code, _, err = vhs("shard", "in", "out")
        assert code == 3 and "in/val: b1: cannot be decoded" in err and "--skip-bad" in err
        assert not Path("out/shards.json").exists()
        code, out, err = vhs("shard", "in", "out", "--skip-bad")
        assert code == 0 and out == "out\n" and "1 bad samples skipped; the first: in/val: b1" in err
        assert json.loads(Path("out/shards.json").read_text())["samples"] == 5

    def test_a_corrupt_image_inside_a_tar_is_named_or_skipped(
        self, vhs, toy_checkpoint: Path, toy_shards: Path
    ) -> None:
        shutil.copytree(toy_shards / "val", "val")
        damage_an_image(Path("val/000000.tar"))
        code, _, err = vhs("evalshift", toy_checkpoint, "--data", "val")
        assert code == 3 and "000000.tar: val-00001.png: cannot be decoded" in err and err.count("\n") == 1
        code, _, err = vhs("evalshift", toy_checkpoint, "--data", "val", "--skip-bad")
        assert code == 3 and "000000.tar: its content is not what the manifest says" in err
        code, out, err = vhs("evalshift", toy_checkpoint, "--data", "val", "--skip-bad", "--no-verify")
        assert code == 0 and rows(out)["n"][0] == 84 and "1 bad samples skipped" in err
