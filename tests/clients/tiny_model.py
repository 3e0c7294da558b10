"""tiny_model.py FILE: writes a language model of half a megabyte in llama.cpp's GGUF format.

Its shape is LLaMA's, its vocabulary bytes and letters, its weights random: what it says is nonsense, but
a server computes, counts and streams it as it would any other.
"""

import sys

import gguf
import numpy

WIDTH, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 4, 128, 2048

random = numpy.random.default_rng(0)
writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_name("tiny")
writer.add_context_length(CONTEXT)
writer.add_embedding_length(WIDTH)
writer.add_block_count(LAYERS)
writer.add_feed_forward_length(INNER)
writer.add_head_count(HEADS)
writer.add_head_count_kv(HEADS)
writer.add_rope_dimension_count(WIDTH // HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_file_type(gguf.LlamaFileType.ALL_F32)

# A token for each byte, which a SentencePiece tokenizer falls back to, and for each letter.
kind = gguf.TokenType
tokens = [(b"<unk>", kind.UNKNOWN), (b"<s>", kind.CONTROL), (b"</s>", kind.CONTROL)]
tokens += [(b"<0x%02X>" % byte, kind.BYTE) for byte in range(256)]
tokens += [(letter.encode(), kind.NORMAL) for letter in "\u2581abcdefghijklmnopqrstuvwxyz0123456789-.:\n"]
writer.add_tokenizer_model("llama")
writer.add_token_list([token for token, _ in tokens])
writer.add_token_scores([-float(number) for number in range(len(tokens))])
writer.add_token_types([kind for _, kind in tokens])
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.add_unk_token_id(0)
writer.add_chat_template("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}")


def tensor(name, *shape, silent=0):
    values = (random.standard_normal(shape) / WIDTH**0.5).astype(numpy.float32)
    values[:silent] = 0
    writer.add_tensor(name, values)


def ones(name):
    writer.add_tensor(name, numpy.ones(WIDTH, dtype=numpy.float32))


tensor("token_embd.weight", len(tokens), WIDTH)
# It only says letters: where a first token is not a whole character, the server holds it back, and with it the
# beginning of the message (Anthropic's `message_start`).
tensor("output.weight", len(tokens), WIDTH, silent=3 + 256)
ones("output_norm.weight")
for layer in range(LAYERS):
    ones(f"blk.{layer}.attn_norm.weight")
    ones(f"blk.{layer}.ffn_norm.weight")
    for name in ["attn_q", "attn_k", "attn_v", "attn_output"]:
        tensor(f"blk.{layer}.{name}.weight", WIDTH, WIDTH)
    tensor(f"blk.{layer}.ffn_gate.weight", INNER, WIDTH)
    tensor(f"blk.{layer}.ffn_up.weight", INNER, WIDTH)
    tensor(f"blk.{layer}.ffn_down.weight", WIDTH, INNER)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
