"""Digests of what a fixed list of commands writes, to compare before and after a change that should change nothing.

`python -m tests.same_bytes FOLDER` runs the list in an empty FOLDER (10 minutes on two cores) and prints a line a file.
Run it before and after, at the same place with the same number of threads, and compare the two lists with diff.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

SMALL = "--epochs 1 --minutes 9 --threads 1 --set depth=3 --set dim=24 --set head_width=5"
SIZES = "img_size=28,patch_size=7,in_chans=1,num_classes=10,depth=3,embed_dim=48,num_heads=3"
BESIDE = f"timm:beit_base_patch16_224:{SIZES}@beit.safetensors"
COMMANDS = (
    "vhs shard fashion-mnist shards",
    "vhs shard chirps chirps --count 64",
    f"vhs train shards {SMALL} --heads 4 --seed 1 --snapshots 30,60 -o a.safetensors",
    f"vhs train shards {SMALL} --heads 3 --seed 2 --lr 0.001 -o b.safetensors",
    f"vhs train chirps {SMALL} --heads 3 --patch 32 -o chirps.safetensors",
    "vhs ablate a.safetensors --shift imagenet-c --max-samples 96 --per-sample a.outcomes.parquet -o heads.csv",
    "vhs ablate a.safetensors --shift contrast:3 --shift fog:2,5 --max-samples 200 --by label -o fills.parquet "
    "--fill zero,mean,mean-flat,resample,uniform,mean-map,twin,twin-break",
    "vhs ablate a.safetensors --shift frost:3 --unit pair --max-samples 96 -o pair.csv",
    "vhs ablate a.safetensors --unit only --rescale --max-samples 96 -o only.csv",
    "vhs ablate a.safetensors --unit layer --fill mean,resample --max-samples 96 -o layer.jsonl",
    "vhs ablate a.safetensors b.safetensors --unit mlp --shift noise --max-samples 64 -o mlp.csv",
    "vhs ablate a.safetensors --select 0.1,2.0 --select L1H2 --fill mean --max-samples 96 -o sets.csv",
    "vhs ablate a.safetensors --precision bf16 --max-samples 64 -o bf16.csv",
    "vhs ablate a.safetensors --half-width .02 --shift contrast:3 -o sized.csv",
    "vhs ablate a.safetensors --shift contrast:3 --method taylor --fill mean --max-samples 200 -o taylor.csv",
    "vhs ablate a.safetensors --shift contrast:3 --method direct --max-samples 200 -o direct.csv",
    "vhs ablate b.safetensors --shift imagenet-c --max-samples 96 --per-sample b.outcomes.parquet -o b.csv",
    f"vhs ablate {BESIDE} --data shards/val --fill-data shards/train --shift contrast:3 --fill zero,mean,resample,twin "
    "--max-samples 48 -o beit.csv",
    "vhs ablate chirps.safetensors --shift contrast:3 --fill zero,mean --max-samples 64 -o chirps-heads.csv",
    "ranks vhs ablate a.safetensors --shift contrast:3 --fill zero,mean --max-samples 96 -o ranks.csv",
    "vhs ablate a.safetensors --dry-run --threads 2 | grep -v time > dry-run.txt",
    "vhs evalshift a.safetensors b.safetensors --shift imagenet-c --max-samples 300 -o shift.csv",
    "vhs evalshift a.safetensors --shift digital --shift clean_own --rejpeg --by label --max-samples 200 -o jpeg.csv "
    "|| vhs evalshift a.safetensors --shift digital --rejpeg --by label --max-samples 200 -o jpeg.csv",
    "vhs evalshift a.safetensors --shift imagenet-c --max-samples 200 --summary mce -o own-mce.csv",
    "vhs evalshift chirps.safetensors --shift contrast:3 -o chirps-shift.csv",
    "vhs specialize a.safetensors --shift contrast:3 --max-samples 200 -o attention.csv",
    "vhs compare heads.csv -o agreement.csv",
    "vhs compare heads.csv --contrast - --scale log_odds --scale lost_rate --scale accuracy > contrast.csv",
    "vhs compare heads.csv --summary rollup -o rollup.csv",
    "vhs compare heads.csv --summary redundancy -o redundancy.csv",
    "vhs compare shift.csv --summary mce --normalise-by own.csv -o mce.csv",
    "vhs compare jpeg.csv --summary groups -o groups.csv",
    "vhs compare a.outcomes.parquet --against b.outcomes.parquet -o versus.csv",
    "vhs compare taylor.csv --exact fills.parquet -o estimated.csv",
    "vhs info --say shift.csv heads.csv agreement.csv > said.txt",
    "vhs info a.safetensors heads.csv shards > info.txt",
)

BEIT = f"""
import timm, torch
from safetensors.torch import save_file
torch.manual_seed(0)
save_file(timm.create_model('beit_base_patch16_224', {SIZES}).state_dict(), 'beit.safetensors')
"""
OWN = "grep -e ^model -e ^b.safetensors shift.csv | sed 's/,[0-9]*$/,/' > own.csv"


def run(folder: Path) -> bool:
    """Run the list, each command as its own process; whether all worked."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "NO_COLOR": "1"}
    python = sys.executable
    shell = (
        f'vhs() {{ {python} -m vhs "$@"; }}; '
        f'ranks() {{ shift; {python} -m torch.distributed.run --nproc-per-node 2 -m vhs "$@"; }}; set -e; '
    )
    subprocess.run([python, "-c", BEIT], cwd=folder, env=environment, check=True)
    codes = []
    for command in COMMANDS:
        sys.stderr.write(f"$ {command}\n")
        lines = [OWN, command] if "own.csv" in command else [command]
        for line in lines:
            codes.append(
                subprocess.run(["bash", "-c", shell + line], cwd=folder, env=environment, stdout=sys.stderr).returncode
            )
    return not any(codes)


def digests(folder: Path) -> list[str]:
    """A line a file: digest and name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}  {path.relative_to(folder)}" for path in files]


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=False)
    worked = run(place)
    sys.stdout.write("\n".join([*digests(place), ""]))
    sys.exit(not worked)
