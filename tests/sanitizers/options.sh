# What the sanitizers are told, by whoever runs tests under them; sourced from the root of the repository.
# A trainer's test raises SIGSEGV itself, and the daemon has to see it.
export ASAN_OPTIONS=handle_segv=0:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$PWD/tests/sanitizers/leak.supp:print_suppressions=0
export TSAN_OPTIONS="suppressions=$PWD/tests/sanitizers/thread.supp ignore_noninstrumented_modules=1"
