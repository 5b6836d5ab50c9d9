#!/usr/bin/env bash
# Trains the SentencePiece model that is shipped beside the novels (Debian's package `sentencepiece`). Only the training novels are read.
set -euo pipefail
cd "$(dirname "$0")"
cat train/*.txt > /tmp/janeausten-$$.txt
trap 'rm -f /tmp/janeausten-$$.txt' EXIT
spm_train --input=/tmp/janeausten-$$.txt --model_prefix=tokenizer --vocab_size=2048 --model_type=bpe \
  --character_coverage=1.0 --byte_fallback=true --num_threads=1 --minloglevel=1
rm -f tokenizer.vocab
