#!/usr/bin/env bash
# Builds the wheel, installs it with the constraints into an empty environment, and labels a file from another
# folder. Prints one line per step and the number of labelled turns; exits with 1 if something fails.
#
#     scripts/check_wheel.sh PYTHON
#
# PYTHON is an interpreter whose environment has `build` and `hatchling`.
set -euo pipefail

python=$(realpath --no-symlinks "${1:?usage: scripts/check_wheel.sh PYTHON}")
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

echo "wheel: build"
"$python" -m build --wheel --no-isolation --outdir "$scratch/dist" "$root" > "$scratch/build.log" 2>&1 ||
    { cat "$scratch/build.log" >&2; exit 1; }

echo "wheel: install into an empty environment"
"$python" -m venv "$scratch/venv"
install() { "$scratch/venv/bin/python" -m pip install --quiet -c "$root/constraints.txt" "$@"; }
install "$(sed -n '/^torch==/p' "$root/constraints.txt")"
install "$scratch"/dist/*.whl

echo "wheel: run erc --help and erc label in another folder, offline"
mkdir "$scratch/elsewhere"
cp "$root/examples/standup.txt" "$scratch/elsewhere/"
cd "$scratch/elsewhere"
export HF_HUB_OFFLINE=1 PYTHONSAFEPATH=1
unset PYTHONPATH
"$scratch/venv/bin/erc" --help > /dev/null
"$scratch/venv/bin/erc" label standup.txt -o labelled.jsonl > /dev/null

turns=$(grep -c '^[^[:space:]].*: ' standup.txt)  # an indented line continues a turn
labelled=$(grep -c '"emotion"' labelled.jsonl)
if [ "$turns" -ne "$labelled" ]; then
    echo "wheel: standup.txt has $turns turns, labelled.jsonl has $labelled labelled turns" >&2
    exit 1
fi
echo "wheel: ok ($labelled turns labelled)"
