#!/usr/bin/env python3
"""The hub's formats from end to end: a Parquet file of conversations in an object store fine-tunes a folder that transformers
saved, and the result chats in transformers, with its template, its end tokens and its generation settings.

    hub_test.py BIN_FOLDER

GALLEON_PYTHON names a Python with torch and transformers; without them the test is skipped.
"""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from runs import PATIENCE, main
from store_server import StoreTest

PYTHON = os.environ.get("GALLEON_PYTHON", "python3")
TALK = {
    "What is a galleon?": "A large ship with three masts.",
    "Who drew the map?": "Nobody knows; it was found in a chest.",
    "Where is the treasure?": "Under the third palm, counted from the sea.",
    "When do we sail?": "At dawn, with the tide.",
}

SAVE = r"""
import json, sys
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
                                                         special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"]))
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
fast.chat_template = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
                      "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
torch.manual_seed(3)
config = LlamaConfig(vocab_size=len(fast), hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                     max_position_embeddings=256, eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, bos_token_id=None)
model = LlamaForCausalLM(config)
model.generation_config = GenerationConfig(eos_token_id=[fast.eos_token_id, fast.pad_token_id], max_new_tokens=60, do_sample=False)
model.save_pretrained(folder)
fast.save_pretrained(folder)
"""

CHAT = r"""
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, questions = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
answers = []
for question in questions:
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    out = model.generate(**ids)[0][ids["input_ids"].shape[1]:].tolist()
    answers.append({"prompt": prompt, "text": tokenizer.decode(out, skip_special_tokens=True), "last": out[-1]})
print(json.dumps({"answers": answers, "ends": model.generation_config.eos_token_id}))
"""


def python(script, *arguments):
    done = subprocess.run([PYTHON, "-c", script, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class HubTest(StoreTest):
    def test_a_parquet_of_conversations_in_a_store_fine_tunes_a_saved_folder(self):
        self.start_store("hub")
        folder = self.folder / "saved"
        python(SAVE, str(folder), json.dumps([*TALK, *TALK.values()]))
        for path in folder.iterdir():
            self.server.put("hub", f"models/small/{path.name}", path.read_bytes())
        rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in TALK.items()]
        pq.write_table(pa.Table.from_pylist(rows), self.folder / "talk.parquet")
        self.server.put("hub", "data/train-00000-of-00001.parquet", (self.folder / "talk.parquet").read_bytes())

        job = self.job(task="finetune", model={"source": "s3://hub/models/small"}, tokenizer="s3://hub/models/small",
                       data={"train": ["s3://hub/data/*.parquet"], "format": "chat", "sequence_length": 96},
                       optimizer={"learning_rate": 0.01}, training={"steps": 120, "global_batch": 4, "micro_batch": 4, "log_every": 20},
                       checkpoint={"copy_to": "s3://hub/runs/small"})
        self.train(job)
        self.assertLess(self.losses()[-1], 0.05)

        # From what lies in the store, as a stranger would take it.
        result = self.folder / "taken"
        result.mkdir()
        prefix = "runs/small/step-00000120/"
        for key in self.server.keys("hub", prefix):
            if "/" not in key[len(prefix):]:
                (result / key[len(prefix):]).write_bytes(self.server.client.get_object(Bucket="hub", Key=key)["Body"].read())
        said = json.loads(python(CHAT, str(result), json.dumps(list(TALK))))
        self.assertEqual(said["ends"], json.loads((folder / "generation_config.json").read_text())["eos_token_id"])
        for answer, wanted in zip(said["answers"], TALK.values()):
            self.assertEqual(answer["text"], wanted)
            self.assertIn(answer["last"], said["ends"])
            status, text = self.galleon("generate", "--model", "s3://hub/runs/small/step-00000120", "--prompt", answer["prompt"],
                                        "--begin-token", "none", "--temperature", "0", "--tokens", "60")
            self.assertEqual(status, 0, text)
            self.assertIn(wanted, text)
            self.assertNotIn(wanted + "\n<|im_start|>", text)


if __name__ == "__main__":
    if subprocess.run([PYTHON, "-c", "import torch, transformers"], capture_output=True, check=False).returncode != 0:
        print(f"skipped: {PYTHON} has no torch and transformers; GALLEON_PYTHON names another")
        sys.exit(77)
    main()
