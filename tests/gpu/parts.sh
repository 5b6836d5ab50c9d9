# Sourced by run.sh: runs commands under limits and keeps what they say as they say it. Uses $deadline, $device and $out.

# Opens the folder of results. results.tsv has a line for each fact, log.txt every line of output behind the name of its part.
open_results() {
  results=$1/results.tsv log=$1/log.txt
  failed=0 told=0 running=()
  work=$(mktemp -d) || exit 1
  : >"$results" || exit 1
  exec 3>"$log" || exit 1
  mkfifo "$work/ended" && exec 9<>"$work/ended" || exit 1
  trap finish EXIT
  trap 'ended_from_outside TERM 143' TERM
  trap 'ended_from_outside INT 130' INT
}

say() {
  printf '%s\n' "$*"
  printf '%s\n' "$*" >&3
}
result() { printf 'RESULT\t%s\t%s\t%s\t%s\t%s\n' "$@" >>"$results"; }
left() { echo $((deadline - SECONDS)); }

# limit_for LEAST MOST: seconds that a command may take now. Fails where fewer than LEAST are left.
limit_for() {
  local rest
  rest=$(left)
  if ((rest < $1)); then return 1; fi
  echo $((rest < $2 ? rest : $2))
}

# Each line as it comes: to the log, to the results if it is one, and to a file of this command alone.
keep() {
  local line
  while IFS= read -r line || [[ -n $line ]]; do
    printf '[%s] %s\n' "$1" "$line" >&3
    if [[ $line == RESULT$'\t'* ]]; then printf '%s\n' "$line" >>"$results"; fi
    printf '%s\n' "$line" >>"$work/$1.out"
  done
}

# begin NAME SECONDS COMMAND…: starts it beside what runs. `await` tells when it has ended.
begin() {
  local name=$1 limit=$2
  shift 2
  printf '[%s] $ %s\n' "$name" "$*" >&3
  : >"$work/$name.out"
  running+=("$name")
  (
    sh -c 'echo $$ >"$0"; exec timeout "$@"' "$work/$name.pid" --kill-after=3 "$limit" "$@" </dev/null 2>&1 | keep "$name"
    echo "${PIPESTATUS[0]}" >"$work/$name.code"
    echo "$name" >&9
  ) 9>&9 &
}

# await SECONDS: sets $ended to the name of a command that has ended and $code to its exit status. Fails where none ends by then:
# what the system cannot kill is left behind, and nothing more is lost by it.
await() {
  local until=$((SECONDS + $1)) name still
  while ((SECONDS <= until)); do
    read -r -t $((until - SECONDS + 1)) -u 9 ended || continue
    still=()
    for name in "${running[@]}"; do
      if [[ $name != "$ended" ]]; then still+=("$name"); fi
    done
    if ((${#still[@]} == ${#running[@]})); then continue; fi # one that was left behind
    running=("${still[@]}")
    code=$(<"$work/$ended.code")
    return 0
  done
  return 1
}

# Why a command is not well, from its exit status.
reason() {
  case $1 in
    74) echo "the device failed" ;;
    124 | 137) echo "out of time" ;;
    1[3-9][0-9]) echo "signal $(($1 - 128))" ;;
    *) echo "code $1" ;;
  esac
}

# run NAME SECONDS COMMAND…: one command, waited for. Sets $code.
run() {
  begin "$@"
  if ! await $(($2 + 8)); then
    say "$1 does not end, even when killed"
    running=()
    code=137
  fi
}

# part NAME LEAST MOST COMMAND…: its RESULT lines, and one for the part itself.
part() {
  local name=$1 limit start=$SECONDS
  if ! limit=$(limit_for "$2" "$3"); then
    result "part.$name" - s "$2 s at least" "not run"
    tell "$name"
    return
  fi
  shift 3
  run "$name" "$limit" "$@"
  if ((code == 0)); then
    result "part.$name" $((SECONDS - start)) s "<= $limit" ok
  else
    failed=1
    result "part.$name" $((SECONDS - start)) s "$(reason "$code")" FAILED
    say "--- $name: $(reason "$code"); the end of its output:"
    grep -av '^RESULT' "$work/$name.out" | tail -n 25
  fi
  grep -a '^skipped' "$work/$name.out"
  tell "$name"
}

table() {
  awk -F'\t' '{ printf "%-46s %14s  %-22s %-24s %s\n", $2, $3, $4, $5, $6 }' "$@"
}

# After a part: its lines on the screen, and the whole table in the folder.
tell() {
  echo "=== $1, at $SECONDS s"
  tail -n +$((told + 1)) "$results" | table
  told=$(wc -l <"$results")
  write_tables
}

write_tables() {
  { echo "$device"; table "$results"; } >"$out/table.txt"
  awk -F'\t' -v device="$device" 'function text(s) { gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); gsub(/[\001-\037]/, " ", s); return "\"" s "\"" }
    BEGIN { printf "{\"device\": %s, \"results\": [", text(device) }
    { printf "%s\n  {\"name\": %s, \"value\": %s, \"unit\": %s, \"aim\": %s, \"verdict\": %s}", (NR > 1 ? "," : ""), text($2),
      ($3 ~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ ? $3 : "null"), text($4), text($5), text($6) }
    END { print "\n]}" }' "$results" >"$out/table.json.new" && mv "$out/table.json.new" "$out/table.json"
}

# Ends what runs: each by its own number, with its group.
end_running() {
  local name
  for name in "${running[@]}"; do
    if [[ -s $work/$name.pid ]]; then kill "$(<"$work/$name.pid")" 2>/dev/null; fi
    result "part.$name" - s "ended from outside" FAILED
  done
}

ended_from_outside() {
  trap '' TERM INT
  say "ended by SIG$1 at $SECONDS s"
  end_running
  failed=1
  exit "$2"
}

# However the suite ends: the table, and in a line which aims are met, which are not, and of which nothing can be said here.
finish() {
  local code=$?
  trap - EXIT
  write_tables
  awk -F'\t' '{ ++count[$6] }
    END { printf "\naims: %d met, %d not met, %d not measured; parts: %d failed, %d not run\n\n",
      count["met"], count["not met"], count["not measured"], count["FAILED"], count["not run"] }' "$results"
  table "$results"
  echo
  echo "in $out: $(cd "$out" && echo *)"
  rm -rf "$work"
  exit "$code"
}
