#!/usr/bin/env bash
# Train with several processes, one per GPU (or on CPUs): tools/dist_train.sh CONFIG GPUS [options]
set -euo pipefail
if [ $# -lt 2 ]; then echo "usage: $0 CONFIG GPUS [options of train.py]" >&2; exit 2; fi
config=$1 gpus=$2
shift 2
# torchrun forwards these and kills who has not ended after so many seconds: time to save.
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-300}"
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
