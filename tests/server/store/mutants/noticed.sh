#!/bin/sh
# noticed.sh PROGRAM TEST: 0 when that test of the broken store fails, 1 when it passes or does not run, 77 when it is left out.
said=$("$1" --gtest_filter="$2" 2>&1)
printf '%s\n' "$said" | tail -n 30
case $said in
  *"[  SKIPPED ] $2"*) exit 77 ;;
  *"[  FAILED  ] $2"*) echo noticed ;;
  *) echo "NOT NOTICED"; exit 1 ;;
esac
