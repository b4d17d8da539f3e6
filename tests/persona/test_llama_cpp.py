"""Control vectors in llama.cpp itself: the same model there and here, steered with one file, has the same logits.

Optional: `pip install xllamacpp` brings llama.cpp as one library. Its C functions are called directly, because this
binding does not pass control vectors on. Structures of llama.cpp are never looked into, so that any version of it
will do: they are handed from call to call as blocks that are larger than any of them.
"""

import ctypes
import sys
from ctypes import POINTER, c_float, c_int32, c_size_t, c_void_p

import numpy as np
import pytest
import torch
from tiny import tiny
from transformers import AutoModelForCausalLM

from truing.model.exchange import of_gguf, to_gguf
from truing.model.hooks import Edit, Places, over, steered
from truing.model.vectors import Vectors

xllamacpp = pytest.importorskip("xllamacpp", reason="pip install xllamacpp: llama.cpp is not here")
gguf = pytest.importorskip("gguf")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="hands structures over as they are on Linux")

LAYERS, TOKENS = 4, [5, 17, 3, 88, 40, 9, 61]


class Block(ctypes.Structure):
    """Some structure of llama.cpp that is passed by value. What lies behind its end is never read."""

    _fields_ = (("bytes", ctypes.c_char * 2048),)


@pytest.fixture(scope="module")
def llama():
    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    results = {
        "llama_model_load_from_file": c_void_p,
        "llama_init_from_model": c_void_p,
        "llama_get_logits_ith": POINTER(c_float),
        **dict.fromkeys(("llama_model_default_params", "llama_context_default_params", "llama_batch_get_one"), Block),
    }
    for name, result in results.items():
        getattr(library, name).restype = result
    library.llama_backend_init()
    return library


@pytest.fixture(scope="module")
def model():
    config = tiny("qwen2").config
    config.num_hidden_layers, config.layer_types = LAYERS, ["full_attention"] * LAYERS
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


@pytest.fixture(scope="module")
def context(llama, model, tmp_path_factory):
    """The same model, as llama.cpp reads it."""
    file = tmp_path_factory.mktemp("llama") / "model.gguf"
    writer, config = gguf.GGUFWriter(str(file), "qwen2"), model.config
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, LAYERS)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":  # tied
            writer.add_tensor(names.get_name(name, (".weight", ".bias")), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = llama.llama_model_load_from_file(str(file).encode(), llama.llama_model_default_params())
    assert read, "llama.cpp cannot read the model"
    return lambda: llama.llama_init_from_model(c_void_p(read), llama.llama_context_default_params())


def control(file, width):
    """As llama.cpp reads it (common_control_vector_load): direction.N at (N - 1) * width, nothing for block 0."""
    directions = {t.name: t.data for t in gguf.GGUFReader(str(file)).tensors}
    assert "direction.0" not in directions
    return np.concatenate([directions.get(f"direction.{n}", np.zeros(width)) for n in range(1, LAYERS)]).astype("f4")


def theirs(llama, context, vocab, vectors=None, first=0, last=LAYERS):
    """Logits behind the last token, from llama.cpp. `first` and `last`: --control-vector-layer-range."""
    running = c_void_p(context())
    llama.llama_set_n_threads(running, 1, 1)
    if vectors is not None:
        width, size = len(vectors) // (LAYERS - 1), c_size_t(len(vectors))
        assert llama.llama_set_adapter_cvec(running, c_void_p(vectors.ctypes.data), size, width, first, last) == 0
    tokens = (c_int32 * len(TOKENS))(*TOKENS)
    assert llama.llama_decode(running, llama.llama_batch_get_one(tokens, len(TOKENS))) == 0
    return torch.from_numpy(np.ctypeslib.as_array(llama.llama_get_logits_ith(running, -1), (vocab,)).copy())


def ours(model, *edits):
    everywhere = torch.ones(1, len(TOKENS), dtype=torch.bool)
    with torch.no_grad(), steered(model, [edits]) as steering, over([steering], Places(everywhere, ~everywhere)):
        return model(torch.tensor([TOKENS])).logits[0, -1]


def test_llama_cpp_steers_the_layers_that_we_do(llama, context, model, tmp_path):
    rows = torch.randn(LAYERS + 1, model.config.hidden_size, generator=torch.Generator().manual_seed(1))
    to_gguf(Vectors("odd", {"response_avg": rows}), file := tmp_path / "odd.gguf")
    vocab, given = model.config.vocab_size, control(file, model.config.hidden_size)
    plain = ours(model)
    effect = 0.02 * (ours(model, Edit(2, rows[2], at="all")) - plain).norm()  # its cache of keys and values is fp16
    assert (theirs(llama, context, vocab) - plain).norm() < effect
    for layer in range(2, LAYERS + 1):
        found = theirs(llama, context, vocab, given, layer - 1, layer - 1)
        wanted = ours(model, Edit(layer, rows[layer], at="all"))
        assert (found - wanted).norm() < effect < (found - plain).norm()
    every = ours(model, *(Edit(layer, rows[layer], at="all") for layer in range(2, LAYERS + 1)))
    assert (theirs(llama, context, vocab, given) - every).norm() < effect
    assert torch.equal(of_gguf(file).row(LAYERS), rows[LAYERS])
