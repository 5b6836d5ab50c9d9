#!/usr/bin/env bash
# Builds Galleon, starts a scheduler and two workers on this machine, trains a small language model on Jane Austen's novels with GaLore
# over two ranks and the same model at full rank, and compares them.
#   deploy/quickstart.sh [--no-install] [--keep] [--folder DIR]
set -euo pipefail
cd "$(dirname "$0")/.."

install=1
keep=0
folder=""
while (($#)); do
  case "$1" in
    --no-install) install=0 ;;
    --keep) keep=1 ;;
    --folder) folder=${2:?--folder needs a name}; shift ;;
    -h | --help)
      sed -n '2,4p' "$0" | cut -c3-
      exit 0
      ;;
    *)
      echo "quickstart: $1 is not an option; see --help" >&2
      exit 2
      ;;
  esac
  shift
done

bold="" plain="" dim=""
if [[ -t 1 && -z "${NO_COLOR:-}" ]]; then bold=$'\e[1m' plain=$'\e[0m' dim=$'\e[2m'; fi
began=$SECONDS
stage() { printf '%s%4d s%s  %s%s%s\n' "$dim" $((SECONDS - began)) "$plain" "$bold" "$1" "$plain"; }

if ((install)); then
  stage "Debian packages"
  deploy/packages.sh build
fi

stage "Build"
build=build
log=$build/quickstart.log
if [[ ! -f $build/build.ninja ]]; then
  # tests/run.sh turns the tests on again; here not even their libraries are needed.
  cmake --preset release -DGALLEON_TESTS=OFF >build-configure.log 2>&1 || { tail -n 20 build-configure.log >&2; exit 1; }
  rm -f build-configure.log
fi

duration() { # seconds
  if (($1 < 60)); then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi
}
# What ninja does now, in short: "[123/210] worker/engine/model".
building() {
  grep -E '^\[[0-9]+/[0-9]+\] (Building|Linking|Generating)' "$log" | tail -n 1 |
    sed -E 's#^(\[[0-9/]+\]) .* ([^ ]+)$#\1 \2#; s#/CMakeFiles/[^/ ]*\.dir(/__/generated)?##; s#\.\./generated#proto#; s#/[^/ ]*$##' || true
}
build_began=$SECONDS
cmake --build $build -j "$(nproc)" --target galleon galleon-trainer galleon-scheduler galleon-worker >"$log" 2>&1 &
building=$!
# Whoever ends the script ends the build.
trap 'kill $building 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# A terminal sees it go on; elsewhere a line each 20 s says that it does.
told=$SECONDS
while kill -0 $building 2>/dev/null; do
  if [[ -t 1 ]]; then
    printf '\r\e[K%s … %s' "$(building)" "$(duration $((SECONDS - build_began)))"
  elif ((SECONDS - told >= 20)); then
    told=$SECONDS
    echo "$(building) … $(duration $((SECONDS - build_began)))"
  fi
  sleep 1
done
if [[ -t 1 ]]; then printf '\r\e[K'; fi
wait $building || { grep -A5 -E 'FAILED|error' "$log" | head -n 40 >&2; exit 1; }

bin=$PWD/$build/bin
[[ -n "$folder" ]] || folder=$PWD/$build/quickstart
rm -rf "$folder"
mkdir -p "$folder"

started=()
stop() {
  local code=$?
  trap - EXIT INT TERM
  if ((keep && code == 0)); then
    cat <<END

Left running (--keep). Its page: $(field "$folder/scheduler.json" page)
The scheduler's address, for the galleon command:
  export GALLEON_SERVER=$server PATH=$bin:\$PATH
  galleon list
To stop everything: kill ${started[*]}
END
    exit 0
  fi
  # Workers first, so that they can say goodbye.
  for ((i = ${#started[@]} - 1; i >= 0; --i)); do
    kill "${started[i]}" 2>/dev/null || true
    wait "${started[i]}" 2>/dev/null || true
  done
  exit $code
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits for a server's ready file, which it writes when it serves.
await() { # name file pid
  for _ in $(seq 300); do
    if [[ -s "$2" ]]; then return 0; fi
    if ! kill -0 "$3" 2>/dev/null; then break; fi
    sleep 0.1
  done
  echo "quickstart: $1 did not start; the end of its log:" >&2
  tail -n 10 "$folder/$1.log" >&2
  exit 1
}
field() { sed -nE "s/.*\"$2\": *\"([^\"]*)\".*/\1/p" "$1"; }

stage "Start the scheduler and two workers"
"$bin/galleon-scheduler" --data "$folder/scheduler" --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --http 127.0.0.1:0 \
  --ready-file "$folder/scheduler.json" >"$folder/scheduler.log" 2>&1 &
started+=($!)
await scheduler "$folder/scheduler.json" $!
server=$(field "$folder/scheduler.json" listen)
export GALLEON_SERVER=$server
for worker in worker-1 worker-2; do
  "$bin/galleon-worker" --server "$server" --name $worker --data "$folder/$worker" --slots 1 --threads $(($(nproc) > 1 ? $(nproc) / 2 : 1)) \
    --allow "$PWD/deploy/examples" --metrics 127.0.0.1:0 --ready-file "$folder/$worker.json" >"$folder/$worker.log" 2>&1 &
  started+=($!)
  await $worker "$folder/$worker.json" $!
done
"$bin/galleon" workers
echo "The page: $(field "$folder/scheduler.json" page)"

train() { # file -> job id in $job
  local answer
  answer=$("$bin/galleon" submit "deploy/examples/janeausten/$1")
  job=${answer#submitted }
  "$bin/galleon" watch "$job"
}

stage "GaLore, two ranks on two workers"
"$bin/galleon" plan deploy/examples/janeausten/galore.yaml
echo
train galore.yaml
galore=$job
stage "The same model at full rank"
train full-rank.yaml
full=$job

echo
"$bin/galleon" compare "$galore" "$full"
cat <<'END'

What was compared: GaLore of rank 32 of 128, and AdamW at full rank with one rate for all weights; each at the best of the rates that
were tried for it, both after 0.4 million tokens. What GaLore saves is the optimizer's memory. That its loss is lower here does not mean
that it learns better: AdamW at full rank ends below both where the matrices have a tenth of the other weights' rate (docs/figures.md).
END

jobs=$folder/scheduler/jobs
checkpoints=("$jobs/$galore/checkpoints"/step-*)
checkpoint=${checkpoints[-1]}
echo
stage "What the GaLore model writes"
for prompt in "It is a truth universally acknowledged" "Emma" "She could not help"; do
  "$bin/galleon" generate --model "$checkpoint" --prompt "$prompt" --tokens 48 --seed 7
done
cat <<END

Checkpoints   $jobs/$galore/checkpoints (Hugging Face layout)
Metrics       $jobs/$galore/metrics.jsonl
Prometheus    http://$(field "$folder/scheduler.json" metrics)/metrics, http://$(field "$folder/worker-1.json" metrics)/metrics, http://$(field "$folder/worker-2.json" metrics)/metrics
Logs          galleon logs $galore; $folder/*.log
END
stage "Done"
