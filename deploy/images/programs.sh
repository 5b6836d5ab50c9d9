#!/bin/sh
# What an image takes of the bundle of a CUDA build (deploy/bundle.sh): programs, their libraries, examples and the licence. Test suites
# and what they read stay behind: programs.sh BUNDLE FOLDER
set -eu
mkdir -p "$2/bin" "$2/deploy"
for program in galleon galleon-trainer galleon-scheduler galleon-worker; do cp "$1/bin/$program" "$2/bin/"; done
find "$1/bin" -name '*.so*' -exec cp {} "$2/bin/" \;
cp -r "$1/deploy/examples" "$2/deploy/examples"
cp "$1/LICENSE" "$2/"
