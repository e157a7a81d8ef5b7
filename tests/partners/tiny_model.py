"""Writes a language model of some hundred kilobytes with random weights, as a GGUF file for llama.cpp.

Runs in the environment that has the `gguf` package. Argument: the file to write. The same bytes every time.
"""

import sys

import gguf
import numpy

SEED = 15
LAYERS, WIDTH, HEADS, INNER, CONTEXT = 2, 64, 4, 128, 4096
SYLLABLES = [c + v for c in "bcdfghjklmnprstvwz" for v in ("a", "e", "i", "o", "u")]
SPREAD = 3.0
"""Of the output weights of words. All others are zero, so that hardly anything but words comes."""
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"
)


def vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    """Pieces, scores and types: three marks, all bytes, the printable characters, words of two syllables."""
    kinds = gguf.TokenType
    marks = [(b"<unk>", kinds.UNKNOWN), (b"<s>", kinds.CONTROL), (b"</s>", kinds.CONTROL)]
    octets = [(f"<0x{value:02X}>".encode(), kinds.BYTE) for value in range(256)]
    letters = [(bytes([value]), kinds.NORMAL) for value in range(33, 127)] + [("▁".encode(), kinds.NORMAL)]
    words = [(f"▁{a}{b}".encode(), kinds.NORMAL) for a in SYLLABLES[::5] for b in SYLLABLES[::6]]
    found = marks + octets + letters + words
    scores = [-float(index) for index in range(len(found))]
    return [piece for piece, _ in found], scores, [int(kind) for _, kind in found]


def write(path: str) -> None:
    """Write the file."""
    random = numpy.random.default_rng(SEED)
    pieces, scores, kinds = vocabulary()
    words = sum(1 for piece in pieces if len(piece) > len("▁".encode()) and piece.startswith("▁".encode()))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)

    def weights(rows: int, columns: int) -> numpy.ndarray:
        return (random.standard_normal((rows, columns)) / columns**0.5).astype(numpy.float32)

    output = weights(len(pieces), WIDTH) * SPREAD
    output[: len(pieces) - words] = 0
    writer.add_tensor("token_embd.weight", weights(len(pieces), WIDTH))
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, numpy.float32))
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", numpy.ones(WIDTH, numpy.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(WIDTH, WIDTH))
        for name, shape in {
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(*shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(sys.argv[1])
