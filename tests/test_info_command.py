"""`vhs info`: what things are, in words and as a drawing."""

from pathlib import Path


def test_info_says_what_things_are(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    code, out, _ = vhs("info", toy_checkpoint, toy_shards)
    assert code == 0 and "ViT, depth 3, dim 16, 2 heads of 8 a layer" in out and "toy/val in" in out


def test_a_model_is_drawn_as_a_block_diagram(vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("info", toy_checkpoint, "-o", "m.svg")
    assert code == 0, err
    drawn = Path("m.svg").read_text()
    assert all(f">L{layer}H{head}<" in drawn for layer in range(3) for head in range(2)) and "fast: " in drawn
    code, out, err = vhs("info", "timm:swin_tiny_patch4_window7_224", "timm:resnet18")
    assert code == 0 and "0-1: 3, 2-3: 6, 4-9: 12, 10-11: 24" in out and "hooks: " in out
    assert "cannot be ablated: ResNet: it has no attention modules" in out
    for options in ((toy_checkpoint, toy_checkpoint, "-o", "m.svg"), (toy_checkpoint, "-o", "m.txt")):
        assert vhs("info", *options)[0] == 2
