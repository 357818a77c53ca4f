#!/bin/bash
# A run or a sweep on the machines of one Slurm job.
#
#   sbatch --nodes=3 --gpus-per-node=1 slurm.sh optimize --config=generate \
#     --config.prompt='a green man' --workdir=/shared/runs/green
#
# The first machine has Ray's head and the learner, the others have the priors
# (a sweep: its cells). mmdist and its environment, and the folder of --workdir,
# are on a disk that every machine sees. Two minutes before the end of its time
# the job is asked to save; the same command goes on from there, and Slurm may
# requeue it.
#
# MMDIST   how mmdist is called (mmdist)
# RAY      how ray is called (ray)
# PORT     of Ray's head (6379)
# HEAD_CPUS, HEAD_GPUS   what of the head the priors may use (0, 0)
#SBATCH --job-name=mmdist
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

mmdist=${MMDIST:-mmdist}
ray=${RAY:-ray}
port=${PORT:-6379}
if [[ $# -eq 0 ]]; then
  echo "error: no command; expected optimize or sweep, and its flags" >&2
  exit 2
fi

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address)
ip=${ip%% *}

# Whoever has the token may run code here. It is made for this job alone, and
# deleted at its end.
umask 077
token=$(mktemp "${SLURM_SUBMIT_DIR:-$PWD}/.ray-token-XXXXXX")
trap 'rm -f "$token"; kill $(jobs -p) 2>/dev/null || true' EXIT
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token
export RAY_USAGE_STATS_ENABLED=0

srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" \
  "$ray" start --head --block --node-ip-address="$ip" --port="$port" \
  --num-cpus="${HEAD_CPUS:-0}" --num-gpus="${HEAD_GPUS:-0}" \
  --include-dashboard=false &
for node in "${nodes[@]:1}"; do
  srun --nodes=1 --ntasks=1 --overlap --nodelist="$node" \
    "$ray" start --block --address="$ip:$port" &
done

# Workers may join later: priors wait for them. But the learner must not begin
# before there is room at all, or it is refused.
for _ in $(seq 60); do
  # Not grep -q: it would end at the first match, and ray by a broken pipe.
  if "$ray" status --address="$ip:$port" 2>/dev/null | grep "CPU" >/dev/null
  then
    break
  fi
  sleep 2
done

"$mmdist" "$@" --ray_address="$ip:$port" &
learner=$!
# Slurm sends the signal to this script alone.
trap 'kill -TERM "$learner" 2>/dev/null || true' TERM
code=0
wait "$learner" || code=$?
# A signal ends the wait early; the learner may still be saving then.
while kill -0 "$learner" 2>/dev/null; do
  code=0
  wait "$learner" || code=$?
done
exit "$code"
