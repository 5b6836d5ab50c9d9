# Sourced by run.sh: the test suites of a program, a process for each, so that one that takes its process with it costs no other. What
# crashed or hung is looked at again, alone: with a wait after every launch, which names the kernel, then its test under
# compute-sanitizer, then what the suite had left to run.

# The suites of a program that a filter leaves tests of.
list_suites() { timeout 60 "$1" --gtest_list_tests --gtest_filter="$2" | awk '/^[^ ].*\.($| )/ { print $1 }'; }

# Of the output of a suite: tests that ran, and the test that was begun last and not ended.
tests_run() { sed -nE 's/^\[==========\] ([0-9]+) tests? from .* ran\..*/\1/p' "$work/$1.out" | tail -n 1; }
tests_skipped() { sed -nE 's/^\[  SKIPPED \] ([0-9]+) tests?.*/\1/p' "$work/$1.out" | tail -n 1; }
open_test() {
  awk '/^\[ RUN      \]/ { open = $4 } /^\[       OK \]|^\[  FAILED  \]|^\[  SKIPPED \]/ { if ($4 == open || $4 == open ",") open = "" }
    END { print open }' "$work/$1.out"
}

sanitizer() {
  command -v compute-sanitizer && return
  local folder
  for folder in "${CUDA_HOME:-/nowhere}" "${CUDA_PATH:-/nowhere}" /usr/local/cuda; do
    if [[ -x $folder/bin/compute-sanitizer ]]; then
      echo "$folder/bin/compute-sanitizer"
      return
    fi
  done
  return 1
}

# judge NAME CODE SECONDS: the line of a suite. Fails where the process did not live to its end.
judge() {
  local name=$1 code=$2 seconds=$3 ran skipped failures
  ran=$(tests_run "$name")
  skipped=$(tests_skipped "$name")
  if [[ -n $ran ]] && ((code <= 1)); then
    if ((ran - ${skipped:-0} <= 0)); then
      failed=1
      result "$name" "$seconds" s "no test ran" FAILED
    elif ((code == 0)); then
      result "$name" "$seconds" s "$ran tests${skipped:+, $skipped skipped}" ok
    else
      failed=1
      failures=$(awk '/^\[  FAILED  \] [^0-9]/ && !/ ms\)$/ { sub(/,$/, "", $4); print $4 }' "$work/$name.out" | sort -u)
      result "$name" "$seconds" s "$(wc -l <<<"$failures") of $ran tests" FAILED
      local test
      for test in $failures; do result "$name: $test" - "" "" FAILED; done
      say "--- $name:"
      grep -aE -A 8 ': Failure$' "$work/$name.out" | head -n 30
    fi
    return 0
  fi
  failed=1
  local test
  test=$(open_test "$name")
  result "$name" "$seconds" s "$(reason "$code")${test:+ in $test}" FAILED
  say "--- $name: $(reason "$code")${test:+ in $test}; the end of its output:"
  tail -n 8 "$work/$name.out"
  return 1
}

# again NAME WHAT LEAST MOST COMMAND…: one more look, if there is time.
again() {
  local name=$1.$2 least=$3 most=$4 limit start=$SECONDS
  shift 4
  if ! limit=$(limit_for "$least" "$most"); then
    result "$name" - s "$least s at least" "not run"
    return 1
  fi
  run "$name" "$limit" "$@"
  seconds=$((SECONDS - start))
}

look_again() {
  local name=$1 program=$2 filter=$3 test tool seconds round skip
  test=$(open_test "$name")
  if again "$name" synchronous 5 40 env GALLEON_CUDA_SYNCHRONOUS=1 "$program" --gtest_filter="$filter"; then
    result "$name.synchronous" "$seconds" s "$(if ((code)); then reason "$code"; else echo "well when it waits"; fi)" measured
    say "--- $name with a wait after every launch:"
    grep -aE 'kernel|[Cc]heck failed|device failed|wrong' "$work/$name.synchronous.out" | tail -n 8
  fi
  if ! tool=$(sanitizer); then
    result "$name.sanitizer" - s "no compute-sanitizer here" "not run"
  elif again "$name" sanitizer 10 60 "$tool" --tool memcheck --error-exitcode 86 --print-limit 5 "$program" --gtest_filter="${test:-$filter}"; then
    result "$name.sanitizer" "$seconds" s "$(if ((code)); then reason "$code"; else echo "finds nothing"; fi)" measured
    say "--- $name under compute-sanitizer:"
    grep -a '=========' "$work/$name.sanitizer.out" | head -n 15
  fi
  skip=$test
  for round in 1 2 3; do
    if [[ -z $test ]]; then return; fi
    again "$name" "rest$round" 5 60 "$program" --gtest_filter="$filter-$skip" || return
    test=
    if [[ $(tests_run "$name.rest$round") == 0 ]]; then return; fi # it was the only one
    judge "$name.rest$round" "$code" "$seconds" && return
    test=$(open_test "$name.rest$round")
    skip+=:$test
  done
}

# suites PART LEAST MOST PROGRAM FILTER: "*/cuda" leaves of each suite the tests of that name.
suites() {
  local part=$1 most start=$SECONDS program=$4 filter=$5 suite name names limit
  if ! most=$(limit_for "$2" "$3"); then
    result "part.$part" - s "$2 s at least" "not run"
    tell "$part"
    return
  fi
  local until=$((SECONDS + most)) waiting=() crashed=() at=0
  declare -A filters=() begun=()
  while IFS= read -r suite; do
    name=$part.${suite%.}
    name=${name//\//_}
    filters[$name]=$suite$filter
    waiting+=("$name")
  done < <(list_suites "$program" "$filter")
  if ((${#waiting[@]} == 0)); then
    failed=1
    result "part.$part" 0 s "no test was found" FAILED
    tell "$part"
    return
  fi
  while ((at < ${#waiting[@]} || ${#running[@]} > 0)); do
    while ((at < ${#waiting[@]} && ${#running[@]} < at_once)); do
      name=${waiting[at++]}
      limit=$((until - SECONDS))
      if ((limit < 3)); then
        result "$name" - s "" "not run"
        continue
      fi
      begun[$name]=$SECONDS
      begin "$name" "$limit" "$program" --gtest_filter="${filters[$name]}"
    done
    if ((${#running[@]} == 0)); then break; fi
    if ! await $((until > SECONDS ? until - SECONDS + 8 : 8)); then
      names=("${running[@]}")
      running=()
      for name in "${names[@]}"; do
        failed=1
        result "$name" - s "does not end, even when killed" FAILED
      done
      continue
    fi
    judge "$ended" "$code" $((SECONDS - begun[$ended])) || crashed+=("$ended")
  done
  for name in "${crashed[@]}"; do look_again "$name" "$program" "${filters[$name]}"; done
  result "part.$part" $((SECONDS - start)) s "<= $most" "$(awk -F'\t' -v part="$part." 'index($2, part) == 1 && $6 == "FAILED" { bad = 1 }
    END { print bad ? "FAILED" : "ok" }' "$results")"
  tell "$part"
}
