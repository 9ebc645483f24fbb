"""Continue a text with a small language model. Needs mlcore-nlp; fetches SmolLM2 (89 MB) the first time."""

import time

import mlcore as ml

model = ml.create_model("nlp/smollm2")
size = sum(one.nbytes for one in model.parameters())
print(
    f"{sum(one.size for one in model.parameters()):,} parameters, {size / 1e6:.0f} MB on {ml.default_device()}\n"
)

prompt = "The capital of France is"
print(prompt, end="")
begin = time.perf_counter()
text = model.generate(prompt, max_new_tokens=12, stream=lambda piece: print(piece, end="", flush=True))
print(f"\n\n12 tokens in {time.perf_counter() - begin:.2f} s\n")

# Instructions: the model was trained on conversations of this form (model.tokenizer.chat_template).
question = "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n"
print(model.generate(question, max_new_tokens=30, stop="<|im_end|>"))

# Drawn instead of the likeliest: the seed decides.
print(model.generate("Once upon a time", max_new_tokens=20, temperature=0.8, top_p=0.9, seed=1))
assert text.startswith(" Paris")
