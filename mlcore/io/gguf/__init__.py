"""GGUF, the format of llama.cpp's models: metadata, a tokenizer's words, and tensors that are quantised as a rule."""
