#!/usr/bin/env bash
# The service end to end with a worker whose slot is a GPU: submit, train, checkpoints, metrics, evaluation on both devices.
#   tests/gpu/service.sh BIN
set -euo pipefail
bin=$1
folder=$(mktemp -d)
started=()
stop() {
  local code=$?
  for ((i = ${#started[@]} - 1; i >= 0; --i)); do
    kill "${started[i]}" 2>/dev/null || true
    wait "${started[i]}" 2>/dev/null || true
  done
  if ((code != 0)); then tail -n 20 "$folder"/*.log; fi
  rm -rf "$folder"
  exit $code
}
trap stop EXIT
verdict() { # name holds value unit
  printf 'RESULT\tservice.%s\t%s\t%s\t\t%s\n' "$1" "$3" "$4" "$( (($2)) && echo ok || echo FAILED)"
  (($2))
}
await() { # name pid
  for _ in $(seq 300); do
    if [[ -s $folder/$1.json ]]; then return 0; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  echo "$1 did not start"
  return 1
}
field() { sed -nE "s/.*\"$2\": *\"([^\"]*)\".*/\1/p" "$folder/$1.json"; }

mkdir "$folder/inputs"
"$bin/galleon-scheduler" --data "$folder/scheduler" --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --ready-file "$folder/scheduler.json" \
  >"$folder/scheduler.log" 2>&1 &
started+=($!)
await scheduler $!
GALLEON_SERVER=$(field scheduler listen)
export GALLEON_SERVER
"$bin/galleon-worker" --name gpu --data "$folder/worker" --slots 1 --device cuda --allow "$folder/inputs" --metrics 127.0.0.1:0 \
  --ready-file "$folder/worker.json" >"$folder/worker.log" 2>&1 &
started+=($!)
await worker $!

awk 'BEGIN { for (i = 0; i < 4000; ++i) print "line", i, "of a text that", (i * 7) % 13, "readers know by heart" }' >"$folder/inputs/text.txt"
cat >"$folder/job.yaml" <<END
name: gpu-service
task: pretrain
model: {source: "preset:tiny"}
tokenizer: bytes
data: {train: [inputs/text.txt], sequence_length: 64}
optimizer:
  learning_rate: 0.003
  galore: {rank: 16, refresh_interval: 20}
training: {steps: 60, global_batch: 16, micro_batch: 16, precision: bf16, log_every: 10}
resources: {device: cuda}
checkpoint: {every: 30}
END
begin=$SECONDS
answer=$("$bin/galleon" submit "$folder/job.yaml")
job=${answer#submitted }
code=0
timeout 50 "$bin/galleon" wait "$job" || code=$?
verdict job $((code == 0)) $((SECONDS - begin)) s
metrics=$folder/scheduler/jobs/$job/metrics.jsonl
losses=$(grep -o '"loss": *[0-9.]*' "$metrics" | grep -o '[0-9.]*$')
first=$(head -n 1 <<<"$losses")
last=$(tail -n 1 <<<"$losses")
verdict loss_falls "$(awk -v a="$first" -v b="$last" 'BEGIN { print b < 0.8 * a ? 1 : 0 }')" "$last" nats
verdict checkpoints "$(($(ls "$folder/scheduler/jobs/$job/checkpoints" | grep -c '^step-') == 2 ? 1 : 0))" 2 checkpoints
# curl need not be there.
address=$(field worker metrics)
exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
printf 'GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$address" >&3
series=$(cat <&3)
exec 3>&-
verdict gpu_in_metrics "$(grep -c 'galleon_worker_gpu_healthy{.*} 1' <<<"$series" | awk '{ print $1 == 1 ? 1 : 0 }')" 1 GPU
checkpoint=$(ls -d "$folder/scheduler/jobs/$job/checkpoints"/step-* | tail -n 1)
gpu=$("$bin/galleon" evaluate --model "$checkpoint" --tokenizer bytes --data "$folder/inputs/text.txt" --tokens 4096 --json --device cuda)
cpu=$("$bin/galleon" evaluate --model "$checkpoint" --tokenizer bytes --data "$folder/inputs/text.txt" --tokens 4096 --json --device cpu)
loss() { grep -o '"loss": *[0-9.]*' <<<"$1" | grep -o '[0-9.]*$'; }
# Activations round to bf16 after sums in another order.
verdict evaluates_as_the_cpu "$(awk -v a="$(loss "$gpu")" -v b="$(loss "$cpu")" 'BEGIN { d = a - b; print (d < 0 ? -d : d) < 0.005 * b ? 1 : 0 }')" \
  "$(loss "$gpu")" nats
