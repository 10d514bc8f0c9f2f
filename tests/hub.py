"""Small sets in Parquet as the Hugging Face hub keeps them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image


def hub(folder: Path, names: list[str] | None, labels: dict[str, list], rows: int = 4) -> list[bytes]:
    """Parquet as `datasets` writes it: image {bytes, path}, label, and the features as JSON under `huggingface`."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    feature: dict = {"_type": "Value", "dtype": "int64"} if names is None else {"names": names, "_type": "ClassLabel"}
    for name, values in labels.items():
        several = isinstance(values[0], list)
        told = {"feature": feature, "_type": "Sequence"} if several else feature
        told = {"info": {"features": {"image": {"_type": "Image"}, "label": told}}}
        structs = []
        for number, _ in enumerate(values):
            buffer = io.BytesIO()
            pixels = np.random.default_rng(len(images)).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(buffer, "JPEG")
            images.append(buffer.getvalue())
            structs.append({"bytes": buffer.getvalue(), "path": f"{name[:5]}_{number:04d}.JPEG"})
        table = pl.DataFrame({
            "image": pl.Series(structs, dtype=pl.Struct({"bytes": pl.Binary, "path": pl.String})),
            "label": pl.Series(values, dtype=pl.List(pl.Int64) if several else pl.Int64),
            "origin": ["imagenet_sketch"] * len(values),
        })  # fmt: skip
        table.write_parquet(folder / f"{name}.parquet", row_group_size=rows, metadata={"huggingface": json.dumps(told)})
    return images
