#!/usr/bin/env bash
# The peers in an environment of their own. Redis comes from the system: apt-get install redis-server.
set -euo pipefail
cd "$(dirname "$0")/../.."
"${PYTHON:-python3}" -m venv .venv-peers
.venv-peers/bin/python -m pip install --quiet \
	'taskiq-nats==0.7.0' 'taskiq==0.13.0' 'dramatiq[redis]==2.2.1' 'celery[redis]==5.7.0' 'redis==8.1.0' 'pydantic>=2.13,<3'
printf '*\n' >.venv-peers/.gitignore

# LiteLLM needs an older openai SDK than ours: an environment of its own.
"${PYTHON:-python3}" -m venv .venv-litellm
.venv-litellm/bin/python -m pip install --quiet 'litellm==1.106.2'
printf '*\n' >.venv-litellm/.gitignore

# The stores of bench/kb.py bring hundreds of megabytes of their own.
"${PYTHON:-python3}" -m venv .venv-peers-kb
printf '*\n' >.venv-peers-kb/.gitignore
.venv-peers-kb/bin/python -m pip install --quiet 'lancedb==0.40.0' 'chromadb==1.5.9' 'numpy>=2,<3'
